"""One radius step: prove that nothing adversarial lies in the ball of one radius.

Effort comes in levels, each only where the one before did not close every target within its
nodes: plain trees; late layers tightened (shared by all targets) and cuts folded into planes;
output-constrained bounds and new cuts, per target; the same again, and no limit on nodes.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import compress
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.protocol import DistanceInterval
from graphprune.backends.relaxation import tighten
from graphprune.backends.relaxation.arrays import box_of
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.cuts import plane_rows
from graphprune.backends.relaxation.subproblem import ROOT_STEPS, CondensedRegion, Subproblem
from graphprune.backends.search import layers as ball_layers
from graphprune.backends.search.candidates import CandidateSink, closing_radius
from graphprune.backends.search.cases import CarriedCase, ClosedCases, KnownCases, open_cases
from graphprune.backends.search.forecast import Outlook
from graphprune.backends.search.node import root_of
from graphprune.backends.search.outcome import RadiusStep
from graphprune.backends.search.root_tightening import (
    RootEffort,
    TightenedRoot,
    tighten_roots,
)
from graphprune.backends.search.scheduler import TreeScheduler
from graphprune.backends.search.settings import DEFAULT, EffortLevel, SearchSettings
from graphprune.backends.search.tree import Tree
from graphprune.backends.search.worker_group import WorkerGroup
from graphprune.backends.search.worth import RootWorth
from graphprune.backends.trace import TargetTrace, Trace
from graphprune.bounds import LayerBounds
from graphprune.bounds.certify import margin_rows
from graphprune.errors import OutOfTimeError
from graphprune.region import Region
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]

log = logging.getLogger("graphprune")

# Radii that are apart by this share are the same: a better point moves those of a schedule a bit.
SAME = 1e-3


def prove_radius(
    interval: DistanceInterval,
    resources: Resources,
    radius: float,
    level: int,
    *,
    fine: float = 0.0,
    least: float | None = None,
    known: KnownCases | None = None,
    settings: SearchSettings = DEFAULT,
) -> RadiusStep:
    """Prove as much of the ball of `radius` as the resources allow, starting at an effort `level`.

    Parameters
    ----------
    fine
        Where no more neurons are unstable than this, better points shrink the ball to the absolute
        tolerance alone; elsewhere to the relative one, and the ball is no larger than the radius
        that closes the interval.
    least
        Given: an attempt. It ends after its first level, and before that where the roots prove
        less than this share of the radius.
    known
        The cases of earlier steps, to begin with; those of this step afterwards.
    """
    before, start = interval.lower, monotonic()
    workers = resources.workers - interval.busy_elsewhere
    with WorkerGroup(workers, resources.worker_memory) as group:
        proof = RadiusProof(
            interval, resources, radius, group, settings, fine=fine, least=least, known=known
        )
        earlier = proof.known.copy()
        proven = proof.run(level)
        proof.known.prefer(earlier, proof.ball.radius)
        proof.known.seconds.update(proof.worth.seconds)
    complete = proven >= proof.ball.radius
    if complete:
        proof.known.late |= proof.late
        proof.known.constrained |= proof.constrained
    if interval.record and max(proven, interval.lower) > before:
        interval.trace = proof.trace if complete else proof.kept
    trees, stopped = proof.tree_seconds, not complete and resources.over
    roots = monotonic() - start - trees
    log.debug(
        "radius %.5f of %.5f: %.5f proven at level %d, %d unstable neurons,"
        " %.2f s for roots that reach %s, %.2f s for %d nodes",
        radius, interval.upper, proven, proof.level, interval.unstable or 0, roots,
        proof.reaches, trees, proof.nodes,
    )  # fmt: skip
    forecast = None
    if proof.outlook.hopeless and not complete:
        forecast, proof.known.given_up = proof.outlook.total, radius
    return RadiusStep(
        proven, complete, proof.nodes, proof.level, roots, trees, stopped, proof.full, forecast,
        proof.hopeless,
    )  # fmt: skip


class RadiusProof:
    """The proof for one ball."""

    def __init__(
        self, interval: DistanceInterval, resources: Resources, radius: float, group: WorkerGroup,
        settings: SearchSettings = DEFAULT, *, fine: float = 0.0, least: float | None = None,
        known: KnownCases | None = None,
    ) -> None:  # fmt: skip
        problem = interval.problem
        self.interval = interval
        self.resources = resources
        self.ball: Region = problem.query.ball(radius)
        # The last digits: where so few neurons are unstable, and whether they are.
        self.digits = fine
        self.fine = fine > 0.0
        self.least = least
        self.points = CandidateSink(interval, resources, settings.step, self.fine)
        self.group = group
        self.known = known or KnownCases()
        self.settings = settings
        self.nodes = 0
        self.level = 0
        self.full = False
        self.hopeless = False
        self.start = monotonic()
        # The trace so far, and that of the most that an unfinished tree proved.
        self.trace = Trace() if interval.record else None
        self.kept: Trace | None = None
        self.reached = 0.0
        self.tree_seconds = 0.0
        # Effort levels by target; whether late layers are bounded, and which targets' bounds are
        # output-constrained.
        self.levels = dict[int, int]()
        self.late = False
        self.constrained: set[int] = set()
        self.aside: dict[int, list[CarriedCase]] = {}  # closed on this ball already, by target
        # Forecasts are right within a factor of three or so: one ends a radius once, and where
        # nothing better is left than to come back to it, it is gone through with.
        patient = radius >= (1.0 - SAME) * self.known.given_up
        self.outlook = Outlook(settings.step, patient=patient)
        self.worth = RootWorth(settings.step, self.known, self.outlook)
        # The share of the ball that the roots alone prove, at each level.
        self.reaches: list[float] = []

    def run(self, level: int) -> float:
        """Return the radius proven."""
        try:
            # Where time ends the bounds, a network condensed with them would be huge.
            if not self._promising() or self.resources.over:
                return 0.0
            if self.fine and not self.interval.at_most_unstable(self.digits):
                # Bounds of the larger ball hold on this one.
                self.ball = self.ball.shrunk(closing_radius(self.interval))
                self.fine = False
                self.points = replace(self.points, fine=False)
            targets = self._targets()
        except OutOfTimeError:
            return 0.0
        attempt, last = self.least is not None, self.settings.step.last
        known = {} if attempt else self.known.levels
        self.levels = {t.label: min(max(level, known.get(t.label, 0)), last) for t in targets}
        while targets:
            self.level = max(self.levels[target.label] for target in targets)
            if self._late_due():
                self.late, targets = True, self._late_layers(targets)
            targets = self._tightened(targets)
            if not targets:
                break
            # A target that closes in a few nodes is not to pay for the preparation that another
            # one needs: each has a tree of its own.
            groups = [targets] if attempt else by_ease(targets)
            closed = ClosedCases(self.region.neurons, self.trace, self.resources.memory // 4)
            trees = [self._build_tree(group, closed) for group in groups]
            reached = min(target.radius for target in targets)
            self.reaches.append(round(reached / self.ball.radius, 3))
            if not attempt or self._goes_on(reached):
                self._expand_each(trees, groups)
            self.ball = self.ball.shrunk(min(tree.ball.radius for tree in trees))
            reached = min(self.ball.radius, *(tree.radius for tree in trees))
            self._keep(trees, reached)
            self._remember(trees, groups, closed)
            still = {label for tree in trees if len(tree) for label in tree.open_targets()}
            over = self.resources.over or (self.interval.closed and not self.fine)
            over = over or self.outlook.hopeless
            if not still or over or attempt or any(self.levels[t] >= last for t in still):
                return reached
            targets = [target for target in targets if target.label in still]
            if not self._late_due():
                for label in still:
                    self.levels[label] += 1
        return self.ball.radius

    def _keep(self, trees: Sequence[Tree], reached: float) -> None:
        """Keep the trace of trees with their open cases, unless earlier ones proved more."""
        if self.trace is not None and reached > self.reached:
            self.reached, self.kept = reached, self.trace.copy()
            for tree in trees:
                tree.note_open(self.kept)

    @cached_property
    def _layers(self) -> list[LayerBounds]:
        return ball_layers.crown_layers(self.interval.problem, self.ball, self.resources.deadline)

    def _promising(self) -> bool:
        """Return False where the margins alone tell that an attempt's roots prove too little."""
        self.interval.unstable = ball_layers.unstable_in(self._layers)
        if self.least is None or not self._wide:
            return True
        share, problem = self.settings.step.promising * self.least, self.interval.problem
        self.hopeless = not ball_layers.promising(problem, self.ball, self._layers, share)
        return not self.hopeless

    @property
    def _wide(self) -> bool:
        return (self.interval.unstable or 0) >= self.settings.step.wide

    def _goes_on(self, reached: float) -> bool:
        """Return whether an attempt goes on after its roots."""
        dear = self.settings.step.dear * self.resources.remaining()
        if self._wide and monotonic() - self.start >= dear:
            return True
        return reached >= (self.least or 0.0) * self.ball.radius

    def _tight_layers(self) -> list[LayerBounds]:
        """Return the bounds that the roots begin from.

        A proof is stated on bounds of its writer's own, and gains nothing by tighter ones.
        """
        if self.trace is not None:
            return self._layers
        return ball_layers.optimised_layers(
            self.interval.problem, self.ball, self._layers, self.resources, self.settings.step
        )

    def _targets(self) -> list[Subproblem]:
        """Return the targets that slopes alone do not exclude on the ball."""
        problem = self.interval.problem
        network = problem.network
        bounds = bounds_of(self._tight_layers())
        self.region = CondensedRegion.of(network, self.ball, bounds, self.resources.deadline)
        self.interval.unstable = self.region.condensed.unstable
        rows = margin_rows(network, problem.anchor.label, problem.target)
        targets = [Subproblem.of(self.region, row) for row in rows]
        if self.trace is None:
            # A trace has every target's tree.
            known, ball = self.known, self.ball
            targets = [t for t in targets if known.radius(t.label) < ball.radius]
        return self._open(targets)

    def _open(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Bound targets while there is time; return those that this does not exclude."""
        kept = []
        for target in targets:
            if not self.resources.over:
                start = monotonic()
                target = target.optimised()
                if target.bound > 0.0:
                    self._exclude(target)
                    continue
                self.worth.pass_seconds = (monotonic() - start) / ROOT_STEPS
            kept.append(target)
        return kept

    def _late_layers(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Tighten the late layers once for all targets."""
        self.interval.report(f"tightening at {self.ball.radius:.5f}", always=True)
        # On what holds on the whole ball: the rows and the box of a target that was tightened hold
        # where its own class wins, and nowhere else.
        self.region, box = replace(self.region, ball=self.ball), box_of(self.ball)
        late, before = self.settings.step.late, targets
        within = self.resources.within(late.share * self.resources.remaining())
        left = [target.shrunk(self.ball, box) for target in targets]
        for neurons in (late.first_neurons, late.neurons - late.first_neurons):
            if left and not within.over:
                self.region, used = tighten.late_layers(
                    self.region, left, self.settings.tree.rule, within, late, neurons
                )
                self.nodes += used
                self.interval.nodes += used
                left = self._open([Subproblem.of(self.region, t.row, box=t.box) for t in left])
        self.worth.had_late(before, left)
        return left

    def _tightened(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Return targets with better bounds and planes; those that are left."""
        efforts = [self._effort(target) for target in targets]
        worth = [effort.rounds > 0 or effort.cuts > 0 for effort in efforts]
        due = list(compress(targets, worth))

        def report() -> None:
            self.interval.report(f"bounding at {self.ball.radius:.5f}")

        done = tighten_roots(
            due, self.resources, self.group, list(compress(efforts, worth)), report
        )
        done += [TightenedRoot(target, excluded=False) for target in targets if target not in due]
        for target in (found.root for found in done if found.excluded):
            if self.trace is not None and target.bound > 0.0 and target.has_planes:
                self._begin(self.trace, target)
                _, slopes, weights = target.parameters
                self.trace.note(target.label, None, slopes, weights)
        for found in done:
            if found.excluded:
                self._exclude(found.root)
        return [found.root for found in done if not found.excluded]

    def _effort(self, target: Subproblem) -> RootEffort:
        """Return what a target's root is worth at its level.

        Output-constrained bounds of many neurons: as long as its trees took before.
        """
        settings = self.settings.step
        level = settings.levels[self.levels.get(target.label, 0)]
        # Proofs repeat what bounds of the whole tree prove, not what was clipped in single nodes.
        clipped = 0 if self.trace is not None else settings.clipped
        effort = RootEffort(0, level.cuts, settings.constrained, clipped)
        if target.neurons <= settings.few:
            return effort._replace(rounds=settings.rounds_few)
        known = target.label in self.known.constrained
        if not level.constrained or not (known or self.worth.constrained(target)):
            return effort
        self.constrained.add(target.label)
        return effort._replace(rounds=settings.rounds_many)

    def _late_due(self) -> bool:
        """Return whether it is time for late layers' bounds."""
        due = not self.late and self.least is None
        return due and (self.known.late or (self.level >= 1 and self.worth.late(self.levels)))

    def _exclude(self, target: Subproblem) -> None:
        """Remember that a target's root proves this ball."""
        root = root_of(target, target.radius)
        root.radius = self.ball.radius
        self.known.put(target.label, open_cases([root], self.region.neurons)[target.label])

    def _begin(self, trace: Trace, root: Subproblem) -> None:
        """Tell a trace of a root."""
        phases = root.parameters.phases.copy()
        trace.begin(root.label, TargetTrace(self.region.neurons, phases, plane_rows(root)))

    def _build_tree(self, targets: list[Subproblem], closed: ClosedCases) -> Tree:
        tree = Tree(self.ball, self.resources, closed, settings=self.settings.tree)
        for target in targets:
            if self.trace is not None:
                self._begin(self.trace, target)
            # Small trees are found anew sooner than old cases are bounded.
            if target.neurons <= self.settings.step.few:
                self.known.put(target.label, [])
            kinds = [target.has_planes, self.late, target.label in self.constrained]
            self.known.prepare(target.label, sum(kinds))
            nodes, aside = self.known.carried(target, self.region, self.trace is not None)
            self.aside[target.label] = aside
            tree.add(nodes) if nodes or aside else tree.add_roots([target])
        return tree

    def _remember(
        self, trees: Sequence[Tree], groups: Sequence[list[Subproblem]], closed: ClosedCases
    ) -> None:
        """Keep the cases of trees for the next ones of their targets."""
        for tree, group in zip(trees, groups, strict=True):
            left = open_cases(tree.all_nodes(), self.region.neurons)
            for target in group:
                label = target.label
                cases = [*self.aside[label], *closed.of(label, tree.ball.radius)]
                cases += left.get(label, [])
                if closed.full:
                    cases = []
                self.known.put(label, cases)
                if label not in left:
                    self.known.levels[label] = self.levels.get(label, 0)

    def _expand_each(self, trees: Sequence[Tree], groups: Sequence[list[Subproblem]]) -> None:
        """Expand one tree after the other; those that come later have the nodes that are left."""
        budgets, left = self._budgets(trees, groups), 0.0
        for tree, group, budget in zip(trees, groups, budgets, strict=True):
            if budget is None or self.outlook.hopeless:
                self.nodes += tree.nodes
                self.interval.nodes += tree.nodes
                continue
            left += budget
            self.worth.begin(target.label for target in group)
            self._expand(tree, group, trees, left)
            left = max(left - tree.nodes, 0.0) if left < np.inf else 0.0
            self.worth.end()
        self._raise(trees)

    def _budgets(
        self, trees: Sequence[Tree], groups: Sequence[list[Subproblem]]
    ) -> Sequence[float | None]:
        """Return the nodes that each tree is to have; None where its next level comes first.

        Cases of earlier trees are to be bounded once without being counted.
        """
        every = self.settings.step.levels
        own = [[every[self.levels.get(t.label, 0)] for t in group] for group in groups]
        if not self._forecasts:
            return [
                len(tree) + self._level_nodes(each) for tree, each in zip(trees, own, strict=True)
            ]
        ahead = [self._seconds_ahead(group[0]) for group in groups]
        found = self.outlook.budgets(
            trees, [group[0].label for group in groups], [each[0] for each in own], ahead,
            self.points, self.resources, self.group.workers,
        )  # fmt: skip
        self.tree_seconds += self.outlook.spent
        return found

    def _level_nodes(self, own: Sequence[EffortLevel]) -> float:
        """Return the nodes of a tree of several targets; an attempt on a wide network has few."""
        if self.least is not None and self._wide:
            return own[0].nodes
        return sum(level.nodes for level in own)

    def _seconds_ahead(self, target: Subproblem) -> float:
        """Return how long output-constrained bounds of the next level should take."""
        every, level = self.settings.step.levels, self.levels.get(target.label, 0) + 1
        due = level < len(every) and every[level].constrained
        return self.worth.constrained_seconds(target) if due else 0.0

    @property
    def _forecasts(self) -> bool:
        """Trees are forecast, except where few nodes or neurons decide."""
        many = self.region.condensed.unstable > self.settings.step.few
        return many and self.least is None and not self.fine

    def _expand(
        self, tree: Tree, targets: list[Subproblem], trees: Sequence[Tree], budget: float
    ) -> None:
        """Expand a tree's nodes until none is left, or the budget or a limit ends it.

        Parameters
        ----------
        trees
            This one and those of all other open targets: what is proven is proven by all of them.
        """
        before, start = self.interval.nodes, monotonic()
        # The memory limit is for the open nodes of all trees together.
        others = sum(other.bytes for other in trees) - tree.bytes
        left = max(self.resources.memory - others, 0)
        tree.resources = replace(self.resources, memory=left)
        scheduler = TreeScheduler(tree, targets, self.points, tree.resources, self.group)
        self._work(tree, scheduler, budget, trees)
        self.group.recall()
        self.full = self.full or (len(tree) > 0 and tree.full)
        # Nodes that the others had still in hand are counted too.
        self.nodes += tree.nodes
        self.interval.nodes = before + tree.nodes
        self.tree_seconds += monotonic() - start
        self._raise(trees)

    def _raise(self, trees: Sequence[Tree]) -> None:
        """Raise the interval's lower end to what all trees prove together."""
        for tree in trees:
            tree.shrink(self.points.radius)
        self.interval.raise_lower(min(tree.radius for tree in trees), certified=True)

    def _work(
        self, tree: Tree, scheduler: TreeScheduler, budget: float, trees: Sequence[Tree]
    ) -> None:
        interval, looked = self.interval, tree.nodes
        before, start = interval.nodes, monotonic()
        again = self.outlook.first_look(self.worth.running)
        while len(tree):
            if self.resources.over or tree.nodes >= budget or tree.full:
                return
            scheduler.work()
            interval.nodes = before + tree.nodes
            if tree.nodes >= looked + self.settings.step.look:
                looked = tree.nodes
                self._raise(trees)
                late = not self._forecasts and self._late_due()
                if (interval.closed and not self.fine) or late:
                    return
                spent = monotonic() - start
                if self._forecasts and spent > again and tree.waiting and not self.group.leases:
                    again = self.outlook.look_again(tree, spent, self.resources, self.points)
                    if self.outlook.hopeless:
                        return
            interval.report(f"search at {tree.ball.radius:.5f}, {len(tree)} open")


def by_ease(targets: Sequence[Subproblem]) -> list[list[Subproblem]]:
    """Return every target on its own, the one that lacks least first."""
    return [[target] for target in sorted(targets, key=lambda target: -target.bound)]
