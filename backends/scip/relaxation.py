"""The linear relaxation of a program, and lower bounds from its duals that need no trust.

For any multipliers y of the rows, every point of the program has

    c . v  >=  sum_j min over [lower_j, upper_j] of (c - rows' y)_j v_j  +  sum_i y_i side_i

where side_i is the row's lower side for y_i > 0 and its upper side for y_i < 0 (Neumaier and
Shcherbina 2004). So HiGHS' duals, however inexact, give a bound, once the rounding of evaluating
the right side, and what a row is off by from the network's own, are subtracted. What is proven in
this way is certified; what SCIP adds to it by branching and cutting is not.
"""

from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.scip.program import MixedIntegerProgram
from graphprune.runtime.highs import Solver

Floats = NDArray[np.float64]
UNIT = 2.0**-53


def safe_bound(program: MixedIntegerProgram, cost: Floats, duals: Floats) -> float:
    """A lower bound of `cost` . v over the program, from any multipliers (m,) of its rows."""
    rows = program.rows
    y = np.where(np.isfinite(program.low) | (duals <= 0), duals, 0.0)
    y = np.where(np.isfinite(program.high) | (y >= 0), y, 0.0)
    y = np.where((program.switch < 0) & np.isfinite(y) & np.isfinite(program.error), y, 0.0)
    error = (1.0 + 1e-9) * program.error
    side = np.where(y > 0, program.low - error, program.high + error)
    sides = np.where(y != 0, y * np.where(y != 0, side, 0.0), 0.0)
    reduced = cost - rows.T @ y
    size = np.abs(cost) + abs(rows).T @ np.abs(y)
    # The ball's bounds were rounded when they were computed.
    lower, upper = np.nextafter(program.lower, -np.inf), np.nextafter(program.upper, np.inf)
    boxes = np.where(reduced > 0, reduced * lower, reduced * upper)
    extent = np.maximum(np.abs(lower), np.abs(upper))
    terms = sum(rows.shape) + 8
    rounding = 4.0 * terms * UNIT * (size @ extent + np.abs(sides).sum())
    return float(boxes.sum() + sides.sum() - rounding)


@dataclass(eq=False)
class ProgramRelaxation:
    """The program without integrality, for any objective.

    Attributes
    ----------
    radius
        True: the rows of the radius are there; an objective without it does not need them.
    point
        The optimum of the last objective (n,), or None.
    """

    program: MixedIntegerProgram
    radius: bool = True
    point: Floats | None = None
    highs: Any = field(default_factory=Solver)

    def __post_init__(self) -> None:
        p = self.program
        n = len(p.lower)
        self.highs.addVars(n, p.lower, p.upper)
        about = np.zeros(n)
        about[0] = 1.0
        chosen = p.switch < 0
        if not self.radius:
            chosen &= abs(p.rows) @ about == 0.0
        always = np.flatnonzero(chosen)
        self.rows = always
        self.highs.add_matrix(sparse.csr_array(p.rows[always]), p.low[always], p.high[always])

    def minimise(self, cost: Floats, deadline: float) -> float:
        """A safe lower bound of `cost` . v; inf: the program has no point; -inf: not known."""
        n = len(cost)
        self.highs.changeColsCost(n, np.arange(n, dtype=np.int32), cost)
        seconds = max(deadline - monotonic(), 0.0)
        if seconds == 0.0:
            return -np.inf
        self.highs.run_for(seconds)
        duals = np.zeros(len(self.program.low))
        found = self.highs.optimum()
        if found is not None:
            self.point = found.columns
            duals[self.rows] = found.duals
            return safe_bound(self.program, cost, duals)
        if self.highs.infeasible:
            _, there, *ray = self.highs.getDualRay()
            if there and len(ray) and np.shape(ray[0]) == self.rows.shape:
                for sign in (1.0, -1.0):
                    duals[self.rows] = sign * np.asarray(ray[0])
                    if safe_bound(self.program, np.zeros(n), duals) > 0.0:
                        return np.inf
        return -np.inf
