"""One rung: prove that nothing adversarial lies in the ball of one radius.

Effort comes in levels, each only where the one before did not close every target within its
nodes: plain trees; late layers tightened (shared by all targets) and cuts folded into planes;
output-constrained bounds and new cuts, per target; the same again, and no limit on nodes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.primal import pursue
from graphprune.backends.protocol import ABSOLUTE, RELATIVE, Ledger, Limits
from graphprune.backends.relaxation import tighten
from graphprune.backends.relaxation.arrays import box_of
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.backends.search.branching import StrongBranching
from graphprune.backends.search.crew import Crew
from graphprune.backends.search.node import root_of
from graphprune.backends.search.pool import Team
from graphprune.backends.search.roots import prepare_all
from graphprune.backends.search.tree import Tree
from graphprune.backends.trace import TargetTrace, Trace
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.region import Region

Floats = NDArray[np.float64]

# Nodes per open target after which the next level is tried.
NODES = (60, 400, 3000, np.inf)
TOP = len(NODES) - 1
# Rounds of cuts at a level.
CUTS = (0, 4, 8, 14)
# So few neurons are bounded under the output constraint at once.
FEW = 64
# Rounds of output-constrained bounds at a root with few neurons, and with many.
ROUNDS_FEW, ROUNDS_MANY = 4, 2
# Nodes between two looks at the interval.
LOOK = 32


@dataclass(frozen=True)
class Climb:
    """How a rung went.

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


def last_radius(ledger: Ledger, *, fine: bool = False) -> float:
    """The radius whose proof closes the ledger; `fine`: to the absolute tolerance alone."""
    if ledger.upper > ledger.problem.cutoff:
        return ledger.problem.cutoff
    relative = min(RELATIVE, ledger.problem.gap)
    gap = ABSOLUTE if fine else max(ABSOLUTE, relative * ledger.upper)
    return max(0.0, ledger.upper - 0.9 * gap)


def climb(
    ledger: Ledger,
    limits: Limits,
    radius: float,
    level: int,
    *,
    fine: bool = False,
    least: float | None = None,
) -> Climb:
    """Prove as much of the ball of `radius` as the limits allow, starting at an effort `level`.

    Parameters
    ----------
    fine
        Better points shrink the ball to the absolute tolerance alone.
    least
        Given: an attempt. It ends after its first level, and before that where the roots prove
        less than this share of the radius.
    """
    before = ledger.lower
    with Team(limits.workers - ledger.others) as team:
        rung = _Rung(ledger, limits, radius, fine, least, team)
        proven = rung.run(level)
    complete = proven >= rung.ball.radius
    if ledger.record and max(proven, ledger.lower) > before:
        ledger.trace = rung.trace if complete else rung.kept
    return Climb(proven, complete, rung.nodes, rung.level, rung.full)


class _Rung:
    """The proof for one ball."""

    def __init__(
        self,
        ledger: Ledger,
        limits: Limits,
        radius: float,
        fine: bool,
        least: float | None,
        team: Team,
    ) -> None:
        problem = ledger.problem
        self.ledger = ledger
        self.limits = limits
        self.ball: Region = problem.anchor.ball(radius, problem.domain)
        self.fine = fine
        self.least = least
        self.points = _Finder(ledger, limits, fine)
        self.team = team
        self.rule = StrongBranching()
        self.nodes = 0
        self.level = 0
        self.full = False
        # The trace so far, and that of the most that an unfinished tree proved.
        self.trace = Trace() if ledger.record else None
        self.kept: Trace | None = None
        self.reached = 0.0

    def run(self, level: int) -> float:
        """The radius proven."""
        targets = self._targets()
        self.level = level
        if targets and level >= 1:
            targets = self._late_layers(targets)
        while targets:
            targets = self._prepare(targets)
            if not targets:
                break
            tree = self._plant(targets)
            hopeless = self.least is not None and tree.radius < self.least * self.ball.radius
            finished = hopeless or self._grow(tree, targets)
            self.ball = tree.ball
            self._keep(tree)
            if finished or self.limits.over or self.least is not None or self.level == TOP:
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
        """The targets that slopes alone do not exclude on the ball."""
        network, label = self.ledger.problem.network, self.ledger.problem.anchor.label
        bounds = bounds_of(pre_activation_bounds(network, Boxes.of(self.ball)))
        self.region = CondensedRegion.of(network, self.ball, bounds)
        self.ledger.statistics["unstable"] = self.region.condensed.unstable
        rows = margin_rows(network, label)
        return self._open([Subproblem.of(self.region, row) for row in rows])

    def _open(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Bound targets, in time; those that this does not exclude."""
        kept = []
        for target in targets:
            if not self.limits.over:
                target = target.optimised()
                if target.bound > 0.0:
                    continue
            kept.append(target)
        return kept

    def _late_layers(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Tighten the late layers once for all targets."""
        self.ledger.tell(f"tightening at {self.ball.radius:.5f}", always=True)
        # On what holds on the whole ball: the rows and the box of a target that was prepared hold
        # where its own class wins, and nowhere else.
        region = replace(self.region, ball=self.ball)
        self.region, used = tighten.late_layers(region, self.rule, self.limits)
        self.nodes += used
        self.ledger.nodes += used
        box = box_of(self.ball)
        targets = [target.shrunk(self.ball, box) for target in targets]
        return self._open([Subproblem.of(self.region, t.row, box=t.box) for t in targets])

    def _prepare(self, targets: list[Subproblem]) -> list[Subproblem]:
        """Better bounds and planes, for each target; those that are left."""
        rounds = ROUNDS_FEW if targets[0].neurons <= FEW else ROUNDS_MANY
        rounds = rounds if self.level >= 2 or targets[0].neurons <= FEW else 0
        cuts = CUTS[self.level]
        if not rounds and not cuts:
            return targets

        def tell() -> None:
            self.ledger.tell(f"bounding at {self.ball.radius:.5f}")

        done = prepare_all(targets, self.limits, self.team, rounds, cuts, tell)
        for target in (found.target for found in done if found.excluded):
            if self.trace is not None and target.bound > 0.0 and target.has_planes:
                self._begin(self.trace, target)
                _, slopes, weights = target.parameters
                self.trace.note(target.label, None, slopes, weights)
        return [found.target for found in done if not found.excluded]

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

    def _plant(self, targets: list[Subproblem]) -> Tree:
        tree = Tree(self.ball, self.limits, self.trace, rule=self.rule)
        if self.trace is not None:
            for target in targets:
                self._begin(self.trace, target)
        tree.add([root_of(target) for target in targets])
        return tree

    def _grow(self, tree: Tree, targets: list[Subproblem]) -> bool:
        """Expand nodes until none is left, or the budget or a limit ends it."""
        before = self.ledger.nodes
        budget = NODES[self.level] * len(targets)
        crew = Crew(tree, targets, self.points, self.limits, self.team)
        finished = self._expand(tree, crew, budget, before)
        self.team.recall()
        self.full = not finished and tree.full
        # What the others had still in hand is counted too.
        self.nodes += tree.nodes
        self.ledger.nodes = before + tree.nodes
        tree.shrink(self.points.radius)
        self.ledger.raise_lower(tree.radius, certified=True)
        return finished

    def _expand(self, tree: Tree, crew: Crew, budget: float, before: int) -> bool:
        ledger, looked = self.ledger, 0
        while len(tree):
            if self.limits.over or tree.nodes >= budget or tree.full:
                return False
            crew.work()
            ledger.nodes = before + tree.nodes
            if tree.nodes >= looked + LOOK:
                looked = tree.nodes
                tree.shrink(self.points.radius)
                ledger.raise_lower(tree.radius, certified=True)
                if ledger.closed and not self.fine:
                    return True
            ledger.tell(f"search at {tree.ball.radius:.5f}, {len(tree)} open")
        return True


@dataclass(frozen=True)
class _Finder:
    """A tree's points go to the ledger, where the original model confirms them."""

    ledger: Ledger
    limits: Limits
    fine: bool

    @property
    def radius(self) -> float:
        return last_radius(self.ledger, fine=self.fine)

    def offer(self, x: Floats) -> None:
        self.ledger.offer(x, deadline=self.limits.deadline)

    def pursue(self, target: int, x: Floats) -> None:
        pursue(self.ledger, target, x, self.limits.deadline)
