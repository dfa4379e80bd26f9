"""A search's trace carried over to a system of the checker: its planes and its tree.

What the search proved on its own condensed network need not hold to the last digit here, so
nothing is taken on trust: planes get the offset that this system needs, and cases of the tree that
do not close as they are go on as any other case does.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.certificate.forest import CaseNode
from graphprune.backends.certificate.relaxation import Floats, Relaxation
from graphprune.backends.trace import ClosedCase, Path, TargetTrace
from graphprune.check.bound import System, UpperPlanes, plane_slack
from graphprune.check.forms import AffineForm, csr

# UpperPlanes lie this much higher than needed: other machines add in other orders.
SLACK = 1e-11
# Rounds of the search for a plane's best multipliers, and the golden section.
ROUNDS, GOLDEN = 24, 0.6180339887498949


class Guide:
    """An outline, seen from the variable neurons of a scope.

    Parameters
    ----------
    phase
        (neurons,) of the scope.
    """

    def __init__(self, outline: TargetTrace, phase: NDArray[np.int8]) -> None:
        self.outline = outline
        place = np.full(len(phase), -1)
        place[phase == 0] = np.arange(int(np.sum(phase == 0)))
        # (rows,) variable neurons of the system, -1: none, its phase is known.
        self.place = place[outline.neurons]
        self.phase = phase[outline.neurons]

    def planes(self, system: System) -> UpperPlanes | None:
        """The trace's planes over the system's basis, as low as the checker accepts them."""
        given, n = self.outline.planes, system.inputs
        if given is None or system.width == 0:
            return None
        free = (system.lower < 0) & (system.upper > 0)
        useful = (np.diff(given.indptr) > 0) & (self.place >= 0) & free[self.place]
        rows = np.flatnonzero(useful)
        if not len(rows):
            return None
        neurons = self.place[rows]
        known = np.flatnonzero(self.place >= 0)
        p = np.zeros((len(rows), len(system.low)))
        own = given[rows].toarray()
        p[:, :n], p[:, n + self.place[known]] = own[:, :n], own[:, n + known]
        p = p.astype(np.float32).astype(np.float64)
        z = system.form.take(neurons)
        w, b = z.rows.toarray(), z.offset
        lower, upper = system.lower[neurons], system.upper[neurons]

        def lowest(factor: Floats) -> Floats:
            rest = p - factor[:, None] * w
            ends: Floats = np.minimum(rest * system.low, rest * system.high).sum(axis=1)
            return ends - factor * b

        below = _least(lambda s: -(lowest(s) + s * lower), len(rows))
        above = _least(lambda t: -(lowest(1.0 - t) - t * upper), len(rows))
        offset = -np.minimum(lowest(below) + below * lower, lowest(1.0 - above) - above * upper)
        planes = UpperPlanes(neurons, AffineForm(csr(p), offset, np.zeros(len(rows))), below, above)
        missing = np.maximum(-plane_slack(system, planes), 0.0) + SLACK
        return UpperPlanes(
            neurons, AffineForm(csr(p), offset + missing, np.zeros(len(rows))), below, above
        )

    def root(self, relaxation: Relaxation, goal: AffineForm) -> CaseNode:
        """The trace's tree for a goal (one row), with the parameters of its cases."""
        start = relaxation.batch(goal)
        root = CaseNode(0, start.states[0], start.theta[0], start.mix[0])
        for case in self.outline.cases:
            leaf = self._descend(root, case.path, relaxation)
            if leaf is not None and case.theta is not None:
                self._parameters(leaf, case, relaxation)
        return root

    def _descend(self, node: CaseNode, path: Path, relaxation: Relaxation) -> CaseNode | None:
        """The leaf of a case, grown where it is missing; None: its splits contradict the scope."""
        for row, phase in splits(path):
            j = int(self.place[row])
            known = self.phase[row] if j < 0 else relaxation.fixed[j]
            if known == -phase:
                return None
            if known == 0:
                first, second = node.children or node.divide(j)
                node = first if phase > 0 else second
        return node if node.children is None else None

    def _parameters(self, leaf: CaseNode, case: ClosedCase, relaxation: Relaxation) -> None:
        known = self.place >= 0
        place = self.place[known]
        theta = leaf.theta.copy()
        if case.theta is not None:
            theta[place] = case.theta[known]
        # Slopes of neurons that are split here, or the reverse, mean nothing.
        fixed = np.zeros(len(theta), np.int8)
        fixed[place] = self.outline.fixed[known]
        theta[(relaxation.fixed != 0) & (fixed != relaxation.fixed) & (leaf.state == 0)] = 0.0
        free = (leaf.state == 0) & (relaxation.fixed == 0)
        leaf.theta = np.where(free, np.clip(theta, 0.0, 1.0), theta)
        if case.mix is not None:
            mix = np.zeros(len(theta))
            mix[place] = case.mix[known]
            leaf.mix = np.where(leaf.mix > 0.0, mix, 0.0)


def splits(path: Path) -> list[tuple[int, int]]:
    """The splits of a path, the first one first."""
    found = []
    while path is not None:
        path, row, phase = path
        found.append((row, phase))
    return found[::-1]


def _least(function: Callable[[Floats], Floats], count: int) -> Floats:
    """Where `count` convex functions on [0, 1] are least (golden section)."""
    low, high = np.zeros(count), np.ones(count)
    for _ in range(ROUNDS):
        width = high - low
        left, right = high - GOLDEN * width, low + GOLDEN * width
        falls = function(left) > function(right)
        low, high = np.where(falls, left, low), np.where(falls, high, right)
    return 0.5 * (low + high)
