"""One radius step: prove that nothing adversarial lies in the ball of one radius.

Effort comes in levels, each only where the one before did not close every target within its
nodes: plain trees; late layers tightened (shared by all targets) and cuts folded into planes;
output-constrained bounds and new cuts, per target; the same again, and no limit on nodes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.primal_heuristic import search_near
from graphprune.backends.protocol import ABSOLUTE, RELATIVE, DistanceInterval
from graphprune.backends.relaxation import tighten
from graphprune.backends.relaxation.arrays import box_of
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.backends.search.root_tightening import RootEffort, tighten_roots
from graphprune.backends.search.scheduler import TreeScheduler
from graphprune.backends.search.settings import DEFAULT, SearchSettings
from graphprune.backends.search.tree import Tree
from graphprune.backends.search.worker_group import WorkerGroup
from graphprune.backends.trace import TargetTrace, Trace
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.region import Region
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RadiusStep:
    """The outcome of a radius step.

    Attributes
    ----------
    radius
        Proven: nothing adversarial is nearer.
    complete
        Every case is closed on the ball (as small as better points made it).
    nodes
        Branch-and-bound nodes.
    level
        The level it ended on.
    full
        Memory was short.
    """

    radius: float
    complete: bool
    nodes: int
    level: int
    full: bool = False


def closing_radius(interval: DistanceInterval, *, fine: bool = False) -> float:
    """The radius whose proof closes the interval; `fine`: to the absolute tolerance alone."""
    if interval.upper > interval.problem.cutoff:
        return interval.problem.cutoff
    relative = min(RELATIVE, interval.problem.gap)
    gap = ABSOLUTE if fine else max(ABSOLUTE, relative * interval.upper)
    return max(0.0, interval.upper - 0.9 * gap)


def prove_radius(
    interval: DistanceInterval,
    resources: Resources,
    radius: float,
    level: int,
    *,
    fine: bool = False,
    least: float | None = None,
    settings: SearchSettings = DEFAULT,
) -> RadiusStep:
    """Prove as much of the ball of `radius` as the resources allow, starting at an effort `level`.

    Parameters
    ----------
    fine
        Better points shrink the ball to the absolute tolerance alone.
    least
        Given: an attempt. It ends after its first level, and before that where the roots prove
        less than this share of the radius.
    """
    before = interval.lower
    workers = resources.workers - interval.busy_elsewhere
    with WorkerGroup(workers, resources.worker_memory) as group:
        proof = RadiusProof(interval, resources, radius, group, settings, fine=fine, least=least)
        proven = proof.run(level)
    complete = proven >= proof.ball.radius
    if interval.record and max(proven, interval.lower) > before:
        interval.trace = proof.trace if complete else proof.kept
    return RadiusStep(proven, complete, proof.nodes, proof.level, proof.full)


class RadiusProof:
    """The proof for one ball."""

    def __init__(
        self, interval: DistanceInterval, resources: Resources, radius: float, group: WorkerGroup,
        settings: SearchSettings = DEFAULT, *, fine: bool = False, least: float | None = None,
    ) -> None:  # fmt: skip
        problem = interval.problem
        self.interval = interval
        self.resources = resources
        self.ball: Region = problem.anchor.ball(radius, problem.domain)
        self.fine = fine
        self.least = least
        self.points = CandidateSink(interval, resources, fine)
        self.group = group
        self.settings = settings
        self.nodes = 0
        self.level = 0
        self.full = False
        # The trace so far, and that of the most that an unfinished tree proved.
        self.trace = Trace() if interval.record else None
        self.kept: Trace | None = None
        self.reached = 0.0

    def run(self, level: int) -> float:
        """Return the radius proven."""
        targets = self._targets()
        self.level = level
        if targets and level >= 1:
            targets = self._late_layers(targets)
        while targets:
            targets = self._tightened(targets)
            if not targets:
                break
            tree = self._build_tree(targets)
            hopeless = self.least is not None and tree.radius < self.least * self.ball.radius
            finished = hopeless or self._expand(tree, targets)
            self.ball = tree.ball
            self._keep(tree)
            last = self.level == self.settings.step.last
            if finished or self.resources.over or self.least is not None or last:
                return tree.radius
            still = tree.open_targets()
            targets = [target for target in targets if target.label in still]
            self.level += 1
            if self.level == 1:
                targets = self._late_layers(targets)
        return self.ball.radius

    def _keep(self, tree: Tree) -> None:
        """Keep the trace of a tree with its open cases, unless an earlier one proved more."""
        if self.trace is not None and tree.radius > self.reached:
            self.reached, self.kept = tree.radius, self.trace.copy()
            tree.note_open(self.kept)

    def _targets(self) -> list[Subproblem]:
        """Return the targets that slopes alone do not exclude on the ball."""
        problem = self.interval.problem
        network = problem.network
        bounds = bounds_of(pre_activation_bounds(network, Boxes.of(self.ball)))
        self.region = CondensedRegion.of(network, self.ball, bounds)
        self.interval.unstable = self.region.condensed.unstable
        rows = margin_rows(network, problem.anchor.label, problem.target)
        return self._open([Subproblem.of(self.region, row) for row in rows])

    def _open(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Bound targets while there is time; return those that this does not exclude."""
        kept = []
        for target in targets:
            if not self.resources.over:
                target = target.optimised()
                if target.bound > 0.0:
                    continue
            kept.append(target)
        return kept

    def _late_layers(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Tighten the late layers once for all targets."""
        self.interval.report(f"tightening at {self.ball.radius:.5f}", always=True)
        # On what holds on the whole ball: the rows and the box of a target that was tightened hold
        # where its own class wins, and nowhere else.
        region = replace(self.region, ball=self.ball)
        settings = self.settings
        self.region, used = tighten.late_layers(
            region, settings.tree.rule, self.resources, settings.step.late
        )
        self.nodes += used
        self.interval.nodes += used
        box = box_of(self.ball)
        targets = [target.shrunk(self.ball, box) for target in targets]
        return self._open([Subproblem.of(self.region, t.row, box=t.box) for t in targets])

    def _tightened(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Return targets with better bounds and planes; those that are left."""
        settings, level = self.settings.step, self.settings.step.levels[self.level]
        few = targets[0].neurons <= settings.few
        rounds = settings.rounds_few if few else settings.rounds_many
        effort = RootEffort(rounds if few or level.constrained else 0, level.cuts)
        if not effort.rounds and not effort.cuts:
            return targets

        def report() -> None:
            self.interval.report(f"bounding at {self.ball.radius:.5f}")

        done = tighten_roots(targets, self.resources, self.group, effort, report)
        for target in (found.root for found in done if found.excluded):
            if self.trace is not None and target.bound > 0.0 and target.has_planes:
                self._begin(self.trace, target)
                _, slopes, weights = target.parameters
                self.trace.note(target.label, None, slopes, weights)
        return [found.root for found in done if not found.excluded]

    def _begin(self, trace: Trace, root: Subproblem) -> None:
        """Tell a trace of a root."""
        planes = None
        if root.has_planes:
            rows = root.rows
            has = np.repeat(root.planes.has, np.diff(rows.indptr)).astype(bool)
            values = np.where(has, root.planes.values, 0.0)
            shape = (root.neurons, root.basis)
            planes = sparse.csr_array(
                (values, rows.indices.copy(), rows.indptr.copy()), shape=shape
            )
            planes.eliminate_zeros()
        phases = root.parameters.phases.copy()
        trace.begin(root.label, TargetTrace(self.region.neurons, phases, planes))

    def _build_tree(self, targets: list[Subproblem]) -> Tree:
        tree = Tree(self.ball, self.resources, self.trace, settings=self.settings.tree)
        if self.trace is not None:
            for target in targets:
                self._begin(self.trace, target)
        tree.add_roots(targets)
        return tree

    def _expand(self, tree: Tree, targets: list[Subproblem]) -> bool:
        """Expand nodes until none is left, or the budget or a limit ends it."""
        before = self.interval.nodes
        budget = self.settings.step.levels[self.level].nodes * len(targets)
        scheduler = TreeScheduler(tree, targets, self.points, self.resources, self.group)
        finished = self._work(tree, scheduler, budget, before)
        self.group.recall()
        self.full = not finished and tree.full
        # Nodes that the others had still in hand are counted too.
        self.nodes += tree.nodes
        self.interval.nodes = before + tree.nodes
        tree.shrink(self.points.radius)
        self.interval.raise_lower(tree.radius, certified=True)
        return finished

    def _work(self, tree: Tree, scheduler: TreeScheduler, budget: float, before: int) -> bool:
        interval, looked = self.interval, 0
        while len(tree):
            if self.resources.over or tree.nodes >= budget or tree.full:
                return False
            scheduler.work()
            interval.nodes = before + tree.nodes
            if tree.nodes >= looked + self.settings.step.look:
                looked = tree.nodes
                tree.shrink(self.points.radius)
                interval.raise_lower(tree.radius, certified=True)
                if interval.closed and not self.fine:
                    return True
            interval.report(f"search at {tree.ball.radius:.5f}, {len(tree)} open")
        return True


@dataclass(frozen=True)
class CandidateSink:
    """A tree's points go to the interval, where the original model confirms them."""

    interval: DistanceInterval
    resources: Resources
    fine: bool

    @property
    def radius(self) -> float:
        return closing_radius(self.interval, fine=self.fine)

    def add_candidate(self, x: Floats) -> None:
        self.interval.add_candidate(x, deadline=self.resources.deadline)

    def search_near(self, target: int, x: Floats) -> None:
        search_near(self.interval, target, x, self.resources.deadline)
