"""Nearest points of a piecewise linear margin: the programs of the polish.

The margin of a step y from the anchor is modelled as

    c + g . y + sum_j w_j max(0, -(a_j . y + b_j)),        w_j > 0,

and the shortest y with a margin <= 0 is wanted, each element of y within bounds. Hinges are added
as they are found to matter, and the solver goes on from the basis it has.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.region import LINF, Norm
from graphprune.region.norms.l1 import L1
from graphprune.region.norms.l2 import L2
from graphprune.runtime.highs import INFINITY, Solver

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]

# Newton steps on the radius end when it moves by less than this, relatively.
PRECISION = 1e-5
# A solve is good for a Newton step when the hinges it lacked cost at most this share of its margin:
# the radius then comes down while hinges are still being found (a sixth of the time).
LACKING = 0.5


class Program(Protocol):
    """A model of the margin, and the step that is best for it."""

    def add(self, rows: Floats, offsets: Floats, costs: Floats) -> None:
        """Add hinges costs * max(0, -(rows . y + offsets))."""
        ...

    def solve(self) -> Floats | None:
        """The best step (n,) with the hinges so far; None where the solver has none."""
        ...

    def advance(self, missing: float) -> bool:
        """Go on to a better radius after a solve; False when there is none.

        `missing` is what hinges that were added since would have added to the solve's margin.
        """
        ...


def _solver() -> Solver:
    # Scaled by the largest value alone: a tenth fewer iterations than the default.
    return Solver(presolve="off", simplex_scale_strategy=4)


def _add_hinges(highs: Solver, rows: Floats, offsets: Floats, costs: Floats) -> Indices:
    """Slacks s >= 0 with rows . columns + s >= -offsets; their columns."""
    count, width = rows.shape
    first = highs.getNumCol()
    slacks = np.arange(first, first + count, dtype=np.int32)
    highs.addVars(count, np.zeros(count), np.full(count, INFINITY))
    highs.changeColsCost(count, slacks, costs)
    # One sparse block: every row has its dense part and its own slack.
    columns = np.concatenate([np.tile(np.arange(width), (count, 1)), slacks[:, None]], axis=1)
    values = np.concatenate([rows, np.ones((count, 1))], axis=1)
    starts = np.arange(count, dtype=np.int32) * (width + 1)
    highs.add_rows(
        count, -offsets, np.full(count, INFINITY), values.size,
        starts, columns.astype(np.int32).reshape(-1), values.reshape(-1),
    )  # fmt: skip
    return slacks


class LinfProgram:
    """min radius, by Newton steps on the least margin as a function of the radius.

    At a fixed radius only bounds of columns are left besides the hinges: a program with as many
    rows as hinges. Its value is convex and falls with the radius; the reduced costs are the slope.
    """

    def __init__(
        self, constant: float, gradient: Floats, lower: Floats, upper: Floats, radius: float
    ) -> None:
        self.constant = constant
        self.lower, self.upper = lower, upper
        self.radius = self.largest = radius
        # Below it the bounds and the ball have no point in common.
        self.smallest = float(max(np.max(lower), np.max(-upper), 0.0))
        self.columns = np.arange(len(gradient), dtype=np.int32)
        self.highs = _solver()
        self.highs.addVars(len(gradient), *self._box())
        self.highs.changeColsCost(len(gradient), self.columns, gradient)

    def _box(self) -> tuple[Floats, Floats]:
        return np.maximum(self.lower, -self.radius), np.minimum(self.upper, self.radius)

    def add(self, rows: Floats, offsets: Floats, costs: Floats) -> None:
        _add_hinges(self.highs, rows, offsets, costs)

    def solve(self) -> Floats | None:
        self.highs.run()
        found = self.highs.optimum()
        if found is None:
            return None
        self.margin = found.value + self.constant
        self.reduced = found.reduced[: len(self.columns)]
        return found.columns[: len(self.columns)]

    def advance(self, missing: float) -> bool:
        if missing > LACKING * abs(self.margin):
            return False
        lower, upper = self._box()
        moving = ((self.reduced > 0) & (lower == -self.radius)) | (
            (self.reduced < 0) & (upper == self.radius)
        )
        slope = -float(np.abs(self.reduced[moving]).sum())
        if slope == 0.0:
            return False
        radius = float(np.clip(self.radius - self.margin / slope, self.smallest, self.largest))
        if abs(radius - self.radius) <= PRECISION * self.radius:
            return False
        self.radius = radius
        self.highs.changeColsBounds(len(self.columns), self.columns, *self._box())
        return True


class L1Program:
    """min sum |y_i|: y = p - m with p, m >= 0, and one row for the margin."""

    def __init__(
        self, constant: float, gradient: Floats, lower: Floats, upper: Floats, radius: float
    ) -> None:
        self.size = len(gradient)
        self.highs = _solver()
        self.highs.addVars(
            2 * self.size,
            np.maximum(np.concatenate([lower, -upper]), 0.0),
            np.maximum(np.concatenate([upper, -lower]), 0.0),
        )
        every = np.arange(2 * self.size, dtype=np.int32)
        self.highs.changeColsCost(2 * self.size, every, np.ones(2 * self.size))
        self.highs.add_rows(
            1, np.array([-INFINITY]), np.array([-constant]), 2 * self.size,
            np.zeros(1, np.int32), every, np.concatenate([gradient, -gradient]),
        )  # fmt: skip

    def add(self, rows: Floats, offsets: Floats, costs: Floats) -> None:
        slacks = _add_hinges(
            self.highs, np.concatenate([rows, -rows], axis=1), offsets, np.zeros(len(costs))
        )
        for slack, cost in zip(slacks, costs, strict=True):
            self.highs.changeCoeff(0, int(slack), float(cost))

    def solve(self) -> Floats | None:
        self.highs.run()
        found = self.highs.optimum()
        if found is None:
            return None
        values = found.columns
        return np.asarray(values[: self.size] - values[self.size : 2 * self.size])

    def advance(self, missing: float) -> bool:
        return False


class L2Program:
    """min |y|^2 / 2 by its dual, which has no constraints but bounds.

    With a multiplier l >= 0 of the margin, and max(0, -t) as the maximum of -u t over 0 <= u <= 1,
    the least Lagrangian over the bounds of y is at y = clip(-l (g - sum_j u_j w_j a_j)): a
    function of l and u with a gradient for free. In (l, l u) it is concave, so that L-BFGS-B can
    end at no other maximum than the global one while l > 0.
    """

    def __init__(
        self, constant: float, gradient: Floats, lower: Floats, upper: Floats, radius: float
    ) -> None:
        self.constant, self.gradient = constant, gradient
        self.lower, self.upper = lower, upper
        self.rows = np.zeros((0, len(gradient)))
        self.offsets = self.costs = np.zeros(0)
        # The multiplier in units of its value for the half-space alone, then the hinges' u.
        self.unit = radius / max(float(np.linalg.norm(gradient)), 1e-30)
        self.dual = np.ones(1)
        # The stopping rules of L-BFGS-B are for functions of about one.
        self.scale = max(self.unit * abs(constant), 1e-30)

    def add(self, rows: Floats, offsets: Floats, costs: Floats) -> None:
        self.rows = np.concatenate([self.rows, rows])
        self.offsets = np.concatenate([self.offsets, offsets])
        self.costs = np.concatenate([self.costs, costs])
        self.dual = np.concatenate([self.dual, np.full(len(costs), 0.5)])

    def _step(self, dual: Floats) -> Floats:
        slope = self.gradient - (dual[1:] * self.costs) @ self.rows
        return np.asarray(np.clip(-self.unit * dual[0] * slope, self.lower, self.upper))

    def _negated(self, dual: Floats) -> tuple[float, Floats]:
        """Minus the dual function, divided by `scale`, and its gradient."""
        y = self._step(dual)
        t = self.rows @ y + self.offsets
        margin = self.constant + self.gradient @ y - (dual[1:] * self.costs) @ t
        multiplier = self.unit * dual[0]
        value = 0.5 * float(y @ y) + multiplier * margin
        gradient = np.concatenate([[self.unit * margin], -multiplier * self.costs * t])
        return -value / self.scale, -gradient / self.scale

    def solve(self) -> Floats | None:
        from scipy.optimize import minimize

        found = minimize(
            self._negated, self.dual, jac=True, method="L-BFGS-B",
            bounds=[(0.0, None), *[(0.0, 1.0)] * len(self.costs)],
            options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-9},
        )  # fmt: skip
        self.dual = found.x
        step = self._step(self.dual)
        return step if np.all(np.isfinite(step)) else None

    def advance(self, missing: float) -> bool:
        return False


# The programs by norm; points in a norm without one are not polished.
PROGRAMS: dict[Norm, Callable[[float, Floats, Floats, Floats, float], Program]] = {
    LINF: LinfProgram,
    L2: L2Program,
    L1: L1Program,
}


def program(
    norm: Norm, constant: float, gradient: Floats, lower: Floats, upper: Floats, radius: float
) -> Program | None:
    """The program of a norm; None where it has none.

    Parameters
    ----------
    lower, upper
        (n,) bounds of the step; they hold a step of length `radius` with a margin <= 0.
    """
    make = PROGRAMS.get(norm)
    return None if make is None else make(constant, gradient, lower, upper, radius)
