"""A search's trace carried over to a system of the checker: its planes and its tree.

The search's proof on its own condensed network need not hold to the last digit here, so nothing is
taken on trust: planes get the offset that this system needs, and cases of the tree that do not
close as they are go on as any other case does.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.certificate.forest import CaseNode
from graphprune.backends.certificate.systems import Floats, SystemRelaxation
from graphprune.backends.relaxation.kernels import Parameters
from graphprune.backends.trace import ClosedCase, Path, TargetTrace
from graphprune.check.bound import System, UpperPlanes, plane_slack
from graphprune.check.forms import AffineForm, csr

# UpperPlanes lie this much higher than needed: other machines add in other orders.
SLACK = 1e-11
# Rounds of the search for a plane's best multipliers, and the golden section.
ROUNDS, GOLDEN = 24, 0.6180339887498949


class Guide:
    """A target's trace, seen from the variable neurons of a scope.

    Parameters
    ----------
    phase
        (neurons,) of the scope.
    """

    def __init__(self, trace: TargetTrace, phase: NDArray[np.int8]) -> None:
        self.trace = trace
        place = np.full(len(phase), -1)
        place[phase == 0] = np.arange(int(np.sum(phase == 0)))
        # (rows,) variable neurons of the system, -1: none, its phase is known.
        self.place = place[trace.neurons]
        self.phase = phase[trace.neurons]

    def planes(self, system: System) -> UpperPlanes | None:
        """The trace's planes over the system's basis, as low as the checker accepts them."""
        given, n = self.trace.planes, system.inputs
        if given is None or system.width == 0:
            return None
        free = (system.lower < 0) & (system.upper > 0)
        useful = (np.diff(given.indptr) > 0) & (self.place >= 0) & free[self.place]
        rows = np.flatnonzero(useful)
        if not len(rows):
            return None
        rows = rows[np.argsort(self.place[rows])]
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
            above = rest[:, n:]
            ends: Floats = np.minimum(above * system.low[n:], above * system.high[n:]).sum(axis=1)
            return np.asarray(ends + system.points.minimum(rest[:, :n]) - factor * b)

        below = _least(lambda s: -(lowest(s) + s * lower), len(rows))
        above = _least(lambda t: -(lowest(1.0 - t) - t * upper), len(rows))
        offset = -np.minimum(lowest(below) + below * lower, lowest(1.0 - above) - above * upper)
        planes = UpperPlanes(neurons, AffineForm(csr(p), offset, np.zeros(len(rows))), below, above)
        missing = np.maximum(-plane_slack(system, planes), 0.0) + SLACK
        return UpperPlanes(
            neurons, AffineForm(csr(p), offset + missing, np.zeros(len(rows))), below, above
        )

    def grow(self, root: CaseNode, relaxation: SystemRelaxation) -> None:
        """Grow the trace's tree from a root, with the parameters of its cases."""
        for case in self.trace.cases:
            leaf = self._descend(root, case.path, relaxation)
            if leaf is not None and case.slopes is not None:
                leaf.parameters = self._parameters(leaf.parameters, case, relaxation)

    def _descend(self, node: CaseNode, path: Path, relaxation: SystemRelaxation) -> CaseNode | None:
        """The leaf of a case, grown where it is missing; None: its splits contradict the scope."""
        for row, phase in splits(path):
            j = int(self.place[row])
            known = self.phase[row] if j < 0 else relaxation.start.phases[j]
            if known == -phase:
                return None
            if known == 0:
                first, second = node.children or node.divide(j)
                node = first if phase > 0 else second
        return node if node.children is None else None

    def _parameters(
        self, own: Parameters, case: ClosedCase, relaxation: SystemRelaxation
    ) -> Parameters:
        """The parameters of a case, as far as they are about neurons of the system."""
        known = self.place >= 0
        place, fixed = self.place[known], relaxation.start.phases
        slopes = own.slopes.copy()
        if case.slopes is not None:
            slopes[place] = case.slopes[known]
        # Slopes of neurons that are fixed by bounds here and not there mean nothing.
        theirs = np.zeros(len(slopes), np.int8)
        theirs[place] = self.trace.fixed[known]
        slopes[(fixed != 0) & (theirs != fixed)] = 0.0
        slopes = np.where(own.phases == 0, np.clip(slopes, 0.0, 1.0), slopes)
        weights = own.cut_weights
        if case.cut_weights is not None:
            given = np.zeros(len(slopes))
            given[place] = case.cut_weights[known]
            weights = np.where(weights > 0.0, given, 0.0)
        return Parameters(own.phases, slopes, weights)


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
