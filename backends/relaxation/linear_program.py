"""The linear relaxation of a subproblem as a linear program in HiGHS.

Columns: the inputs, then h of every unstable neuron. Rows, per neuron: h >= z, and the triangle's
h <= s (z - l); then, h <= plane of the neurons that have one; last, those of a norm's ball. A
linear program's duals are slopes: `parameters_of` turns them into the parameters of the kernels,
whose own pass then proves the bound, so nothing rests on the solver's numerics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.relaxation.ball_rows import BallRows
from graphprune.backends.relaxation.kernels import (
    CondensedRows,
    LinearRow,
    NetworkRelaxation,
    Parameters,
    RegionBox,
    Specification,
)
from graphprune.runtime.highs import INFINITY, Optimum, Solver

Floats = NDArray[np.float64]

# Rounds of tangents to a ball at most.
TANGENTS = 12


@dataclass(frozen=True, eq=False)
class LPSolution:
    """An optimum: `basis` values (inputs and h), duals and reduced costs.

    Attributes
    ----------
    value
        The margin's minimum over the relaxation; inf when it is infeasible.
    lower_dual, upper_dual
        (m,) multipliers of h >= z (>= 0) and of the triangle's upper line (<= 0).
    reduced
        (m,) reduced costs of h.
    plane_dual
        (m,) multipliers of h <= plane (<= 0).
    """

    value: float
    basis: Floats
    lower_dual: Floats
    upper_dual: Floats
    reduced: Floats
    plane_dual: Floats

    @classmethod
    def infeasible(cls, inputs: int, neurons: int) -> "LPSolution":
        nothing = np.zeros(neurons)
        return cls(np.inf, np.zeros(inputs + neurons), *(nothing,) * 4)


def matrix_of(rows: CondensedRows) -> sparse.csr_array:
    """The rows as a sparse matrix over the basis, without the zeros that fill their gaps."""
    m = len(rows.offset)
    shape = (m, rows.inputs + m)
    matrix = sparse.csr_array((rows.values, rows.indices, rows.indptr), shape=shape, copy=True)
    matrix.eliminate_zeros()
    return matrix


class RelaxationProgram:
    """min goal over a relaxation, splits and box to be changed at will."""

    def __init__(self, relaxation: NetworkRelaxation, specification: Specification) -> None:
        self.relaxation, self.goal = relaxation, specification.goal
        (rows, planes, box), goal = relaxation, specification.goal
        self.inputs, self.neurons = rows.inputs, len(rows.offset)
        n, m = self.inputs, self.neurons
        self.highs = Solver(presolve="off")
        width = n + m
        lower = np.concatenate([box.lower, np.zeros(m)])
        upper = np.concatenate([box.upper, rows.upper])
        self.highs.addVars(width, lower, upper)
        self.highs.changeColsCost(width, np.arange(width, dtype=np.int32), goal.row)
        z = matrix_of(rows)
        slope = rows.upper / (rows.upper - rows.lower)
        h = sparse.eye_array(m, width, k=n, format="csr")
        below = sparse.csr_array(h - z)
        above = sparse.csr_array(h - sparse.diags_array(slope) @ z)
        self._low = rows.offset
        self._high = slope * (rows.offset - rows.lower)
        self.highs.add_matrix(below, self._low, np.full(m, INFINITY))
        self.highs.add_matrix(above, np.full(m, -INFINITY), self._high)
        self._planes = np.flatnonzero(planes.has)
        if len(self._planes):
            plane = matrix_of(rows._replace(values=planes.values))
            tops = sparse.csr_array((h - plane)[self._planes])
            self.highs.add_matrix(tops, np.full(len(self._planes), -INFINITY), self._ceilings)
        self._ball = None if box.ball is None else BallRows(self.highs, box, width)

    @property
    def _ceilings(self) -> Floats:
        return self.relaxation.planes.offset[self._planes]

    def split(self, phases: NDArray[np.int8]) -> None:
        """Fix phases: active neurons h = z >= 0, inactive ones h = 0 >= z."""
        n, m = self.inputs, self.neurons
        index = np.arange(m, dtype=np.int32)
        # An upper bound that holds where the goal is 0 or less is none of the kernels' lines: the
        # proof would miss its multiplier.
        most = self.relaxation.rows.upper if self._ball is None else np.full(m, INFINITY)
        upper = np.where(phases == -1, 0.0, most)
        self.highs.changeColsBounds(m, index + n, np.zeros(m), upper)
        ceiling = np.where(phases == 1, self._low, INFINITY)
        for j in range(m):
            self.highs.changeRowBounds(j, self._low[j], ceiling[j])
            top = self._high[j] if phases[j] == 0 else INFINITY
            self.highs.changeRowBounds(m + j, -INFINITY, top)
        # The kernels combine planes with triangles only.
        tops = np.where(phases[self._planes] == 0, self._ceilings, INFINITY)
        for k, top in enumerate(tops):
            self.highs.changeRowBounds(2 * m + k, -INFINITY, top)

    def move(self, box: RegionBox) -> None:
        """Another box of inputs."""
        n = self.inputs
        self.highs.changeColsBounds(n, np.arange(n, dtype=np.int32), box.lower, box.upper)
        if self._ball is not None and box.ball is not None:
            self._ball.limit(box.ball.radius)

    def _run(self, seconds: float) -> None:
        """Solve, with the tangents of the ball that the optimum asks for."""
        end = monotonic() + seconds
        self.highs.run_for(seconds)
        for _ in range(TANGENTS if self._ball is not None else 0):
            found = self.highs.optimum()
            if found is None or self._ball is None or not self._ball.tighten(found.columns):
                return
            self.highs.run_for(end - monotonic())

    def solve(self, seconds: float = INFINITY) -> LPSolution | None:
        """The optimum; None where HiGHS gives up."""
        self._run(seconds)
        if self.highs.infeasible:
            return LPSolution.infeasible(self.inputs, self.neurons)
        found = self.highs.optimum()
        return None if found is None else self._solution(found)

    def nearest(self, center: Floats, seconds: float) -> tuple[LPSolution, float] | None:
        """The point with margin <= 0 nearest to `center`, and the margin's multiplier (>= 0).

        Changes the program for good; None where it has no such point, or HiGHS gives up.
        """
        n, m, goal = self.inputs, self.neurons, self.goal
        columns = np.arange(n + m, dtype=np.int32)
        self.highs.changeColsCost(n + m, columns, np.zeros(n + m))
        if self._ball is None:
            self._minimise_cube(center)
        else:
            self._ball.minimise_length()
        margin = sparse.csr_array(np.append(goal.row, 0.0)[None])
        self.highs.add_matrix(margin, np.full(1, -INFINITY), np.full(1, goal.error - goal.offset))
        place = self.highs.getNumRow() - 1
        self._run(seconds)
        found = self.highs.optimum()
        if found is None:
            return None
        return self._solution(found), max(0.0, -float(found.duals[place]))

    def _minimise_cube(self, center: Floats) -> None:
        """Make the largest step of an input the objective."""
        n, m = self.inputs, self.neurons
        self.highs.addVar(0.0, INFINITY)
        self.highs.changeColCost(n + m, 1.0)
        each = np.arange(n)
        for sign, low, high in (
            (-1.0, np.full(n, -INFINITY), center),
            (1.0, center, np.full(n, INFINITY)),
        ):
            values = np.concatenate([np.ones(n), np.full(n, sign)])
            places = (np.tile(each, 2), np.concatenate([each, np.full(n, n + m)]))
            self.highs.add_matrix(
                sparse.csr_array((values, places), shape=(n, n + m + 1)), low, high
            )

    def least_largest(
        self, goals: Sequence[LinearRow], seconds: float = INFINITY
    ) -> tuple[Floats, Floats] | None:
        """The basis values with the least largest goal, and the goals' multipliers.

        The multipliers are >= 0, some are positive. Changes the program for good; None where it
        has no point, or HiGHS gives up.
        """
        width = self.inputs + self.neurons
        self.highs.changeColsCost(width, np.arange(width, dtype=np.int32), np.zeros(width))
        self.highs.addVar(-INFINITY, INFINITY)
        self.highs.changeColCost(width, 1.0)
        rows = np.array([np.append(goal.row, -1.0) for goal in goals])
        offsets = np.array([goal.offset for goal in goals])
        self.highs.add_matrix(sparse.csr_array(rows), np.full(len(goals), -INFINITY), -offsets)
        self.highs.run_for(seconds)
        found = self.highs.optimum()
        if found is None:
            return None
        multipliers = np.maximum(-found.duals[-len(goals) :], 0.0)
        return (found.columns[:width], multipliers) if multipliers.sum() > 0.0 else None

    def _solution(self, found: Optimum) -> LPSolution:
        m, goal = self.neurons, self.goal
        basis, duals = found.columns[: self.inputs + m], found.duals
        planes = np.zeros(m)
        planes[self._planes] = duals[2 * m : 2 * m + len(self._planes)]
        return LPSolution(
            float(goal.row @ basis + goal.offset), basis, duals[:m], duals[m : 2 * m],
            found.reduced[self.inputs : self.inputs + m], planes,
        )  # fmt: skip


def parameters_of(solution: LPSolution, phases: NDArray[np.int8]) -> Parameters:
    """Return the parameters of the kernels that a solution's duals are."""
    low, reduced = np.maximum(solution.lower_dual, 0.0), np.maximum(solution.reduced, 0.0)
    # Active: h = z has the multiplier a - slope, and h >= 0 the multiplier slope. Inactive: h = 0,
    # and z <= 0 has the multiplier slope.
    split = np.where(phases == 1, reduced, low)
    plane = np.maximum(-solution.plane_dual, 0.0)
    weights = _share(plane, np.maximum(-solution.upper_dual, 0.0))
    return Parameters(phases, np.where(phases == 0, _share(low, reduced), split), weights)


def _share(part: Floats, rest: Floats) -> Floats:
    """Return the part of a sum, 0 where there is next to none."""
    total = part + rest
    return np.where(total > 1e-12, part / np.maximum(total, 1e-12), 0.0)
