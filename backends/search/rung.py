"""One rung: prove that nothing adversarial lies in the ball of one radius.

Effort comes in levels, each only where the one before did not close every target within its
nodes: plain trees; late layers tightened (shared by all targets) and cuts folded into planes;
output-constrained bounds and new cuts, per target; the same again, and no limit on nodes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.condensed import bounds_of, condense
from graphprune.backends.protocol import ABSOLUTE, RELATIVE, Ledger, Limits
from graphprune.backends.search import tighten
from graphprune.backends.search.cuts import add_planes
from graphprune.backends.search.target import Target
from graphprune.backends.search.tree import Tree
from graphprune.backends.trace import Trace
from graphprune.ir import Ball
from graphprune.passes.analysis.bounds import Boxes, pre_activation_bounds
from graphprune.passes.analysis.certify import margin_rows

Floats = NDArray[np.float64]

# Nodes per open target after which the next level is tried.
NODES = (60, 400, 3000, np.inf)
TOP = len(NODES) - 1
# Rounds of cuts at a level.
CUTS = (0, 5, 6, 10)
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
    """

    radius: float
    complete: bool
    nodes: int
    level: int


def last_radius(ledger: Ledger, *, fine: bool = False) -> float:
    """The radius whose proof closes the ledger; `fine`: to the absolute tolerance alone."""
    if ledger.upper > ledger.problem.cutoff:
        return ledger.problem.cutoff
    gap = ABSOLUTE if fine else max(ABSOLUTE, RELATIVE * ledger.upper)
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
    rung = _Rung(ledger, limits, radius, fine, least)
    before = ledger.lower
    proven = rung.run(level)
    complete = proven >= rung.ball.radius
    if ledger.record and max(proven, ledger.lower) > before:
        ledger.trace = rung.trace if complete else rung.kept
    return Climb(proven, complete, rung.nodes, rung.level)


class _Rung:
    """The proof for one ball."""

    def __init__(
        self, ledger: Ledger, limits: Limits, radius: float, fine: bool, least: float | None
    ) -> None:
        problem = ledger.problem
        self.ledger = ledger
        self.limits = limits
        self.ball = Ball(problem.anchor.x.astype(np.float64), radius, problem.domain)
        self.fine = fine
        self.least = least
        self.nodes = 0
        self.level = 0
        self.cuts = 0
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
            if self.level >= 2 or targets[0].neurons <= FEW:
                targets = self._constrain(targets)
            if CUTS[self.level] and targets:
                targets = self._cut(targets)
            if not targets:
                break
            tree = Tree(targets, self.ball, self.limits, self.trace)
            hopeless = self.least is not None and tree.radius < self.least * self.ball.radius
            finished = hopeless or self._grow(tree, NODES[self.level] * len(targets))
            self.ball = tree.ball
            self._keep(tree)
            if finished or self.limits.over or self.least is not None:
                return tree.radius
            targets = [targets[i] for i in tree.open_targets()]
            self.level += 1
            if self.level == 1:
                targets = self._late_layers(targets)
        return self.ball.radius

    def _keep(self, tree: Tree) -> None:
        """Keep the trace of a tree with its open cases, unless an earlier one proved more."""
        if self.trace is not None and tree.radius > self.reached:
            self.reached, self.kept = tree.radius, self.trace.copy()
            tree.note_open(self.kept)

    def _targets(self) -> list[Target]:
        """The targets that slopes alone do not exclude on the ball."""
        network, label = self.ledger.problem.network, self.ledger.problem.anchor.label
        layers = pre_activation_bounds(network, Boxes.of(self.ball))
        bounds = bounds_of(layers)
        condensed = condense(network, bounds, self.ball)
        self.ledger.statistics["unstable"] = condensed.unstable
        rows = margin_rows(network, label)
        return self._open([Target(network, row, self.ball, bounds, condensed) for row in rows])

    def _open(self, targets: list[Target]) -> list[Target]:
        return [t for t in targets if t.optimise() <= 0.0]

    def _late_layers(self, targets: list[Target]) -> list[Target]:
        """Tighten the late layers once for all targets."""
        first = targets[0]
        self.ledger.tell(f"tightening at {self.ball.radius:.5f}", always=True)
        used = tighten.late_layers(first, self.limits)
        self.nodes += used
        self.ledger.nodes += used
        for target in targets[1:]:
            target.bounds = first.bounds
            target.rebuild(first.condensed)
        return self._open(targets)

    def _constrain(self, targets: list[Target]) -> list[Target]:
        open_targets = []
        for target in targets:
            self.ledger.tell(f"bounding at {self.ball.radius:.5f}", always=True)
            rounds = ROUNDS_FEW if target.neurons <= FEW else ROUNDS_MANY
            if tighten.constrain_root(target, self.limits, rounds):
                open_targets.append(target)
        return open_targets

    def _cut(self, targets: list[Target]) -> list[Target]:
        for target in targets:
            self.ledger.tell(f"cutting at {self.ball.radius:.5f}", always=True)
            self.cuts += add_planes(target, self.limits, CUTS[self.level])
            if self.trace is not None and target.bound > 0.0:
                target.begin(self.trace)
                self.trace.note(target.excluded, None, target.theta, target.mix)
        return [target for target in targets if target.bound <= 0.0]

    def _grow(self, tree: Tree, budget: float) -> bool:
        """Expand nodes until none is left, or the budget or a limit ends it."""
        ledger = self.ledger
        start = tree.nodes
        while len(tree):
            if self.limits.over or tree.nodes - start >= budget:
                self.nodes += tree.nodes - start
                ledger.raise_lower(tree.radius, certified=True)
                return False
            if tree.step(ledger):
                smaller = last_radius(ledger, fine=self.fine)
                if smaller < tree.ball.radius:
                    tree.shrink(smaller)
            if tree.nodes % LOOK == 0:
                ledger.raise_lower(tree.radius, certified=True)
                if ledger.closed and not self.fine:
                    self.nodes += tree.nodes - start
                    return True
                ledger.tell(f"search at {tree.ball.radius:.5f}, {len(tree)} open")
        self.nodes += tree.nodes - start
        ledger.raise_lower(tree.radius, certified=True)
        return True
