"""Nearest points of a piecewise linear margin: the linear programs of the polish.

The margin of a step y from the anchor is modelled as

    c + g . y + sum_j w_j max(0, -(a_j . y + b_j)),        w_j > 0,

and the shortest y with a margin <= 0 is wanted, each element of y within bounds. Hinges are added
as they are found to matter, and the solver goes on from the basis it has.
"""

from typing import Protocol

import highspy
import numpy as np
from numpy.typing import NDArray

from graphprune.ir import Norm

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]

INFINITY = highspy.kHighsInf
# Newton steps on the radius end when it moves by less than this, relatively.
PRECISION = 1e-5


class Program(Protocol):
    """A model of the margin, and the step that is best for it."""

    def add(self, rows: Floats, offsets: Floats, costs: Floats) -> None:
        """Add hinges costs * max(0, -(rows . y + offsets))."""
        ...

    def solve(self) -> Floats | None:
        """The best step (n,) with the hinges so far; None where the solver has none."""
        ...

    def advance(self) -> bool:
        """Go on to a better radius after a solve; False when there is none."""
        ...


def program(
    norm: Norm, constant: float, gradient: Floats, lower: Floats, upper: Floats, radius: float
) -> Program | None:
    """The program of a norm, or None where it has none (l2).

    Parameters
    ----------
    lower, upper
        (n,) bounds of the step; they hold a step of length `radius` with a margin <= 0.
    """
    if norm == "linf":
        return LinfProgram(constant, gradient, lower, upper, radius)
    if norm == "l1":
        return L1Program(constant, gradient, lower, upper)
    return None


class _Solver(highspy.Highs):
    """HiGHS without its banner, which the class' own constructor prints before it can be asked
    not to (it registers callbacks, which nothing here uses)."""

    def __init__(self) -> None:
        super(highspy.Highs, self).__init__()
        for option, value in (
            ("output_flag", False), ("threads", 1), ("presolve", "off"), ("solver", "simplex"),
        ):  # fmt: skip
            self.setOptionValue(option, value)


def _add_hinges(highs: _Solver, rows: Floats, offsets: Floats, costs: Floats) -> Indices:
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
    highs.addRows(
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
        self.highs = _Solver()
        self.highs.addVars(len(gradient), *self._box())
        self.highs.changeColsCost(len(gradient), self.columns, gradient)

    def _box(self) -> tuple[Floats, Floats]:
        return np.maximum(self.lower, -self.radius), np.minimum(self.upper, self.radius)

    def add(self, rows: Floats, offsets: Floats, costs: Floats) -> None:
        _add_hinges(self.highs, rows, offsets, costs)

    def solve(self) -> Floats | None:
        self.highs.run()
        if self.highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = self.highs.getSolution()
        self.reduced = np.array(solution.col_dual)[: len(self.columns)]
        return np.array(solution.col_value)[: len(self.columns)]

    def advance(self) -> bool:
        value = self.highs.getInfo().objective_function_value + self.constant
        lower, upper = self._box()
        moving = ((self.reduced > 0) & (lower == -self.radius)) | (
            (self.reduced < 0) & (upper == self.radius)
        )
        slope = -float(np.abs(self.reduced[moving]).sum())
        if slope == 0.0:
            return False
        radius = float(np.clip(self.radius - value / slope, self.smallest, self.largest))
        if abs(radius - self.radius) <= PRECISION * self.radius:
            return False
        self.radius = radius
        self.highs.changeColsBounds(len(self.columns), self.columns, *self._box())
        return True


class L1Program:
    """min sum |y_i|: y = p - m with p, m >= 0, and one row for the margin."""

    def __init__(self, constant: float, gradient: Floats, lower: Floats, upper: Floats) -> None:
        self.size = len(gradient)
        self.highs = _Solver()
        self.highs.addVars(
            2 * self.size,
            np.maximum(np.concatenate([lower, -upper]), 0.0),
            np.maximum(np.concatenate([upper, -lower]), 0.0),
        )
        every = np.arange(2 * self.size, dtype=np.int32)
        self.highs.changeColsCost(2 * self.size, every, np.ones(2 * self.size))
        self.highs.addRow(
            -INFINITY, -constant, 2 * self.size, every, np.concatenate([gradient, -gradient])
        )

    def add(self, rows: Floats, offsets: Floats, costs: Floats) -> None:
        slacks = _add_hinges(
            self.highs, np.concatenate([rows, -rows], axis=1), offsets, np.zeros(len(costs))
        )
        for slack, cost in zip(slacks, costs, strict=True):
            self.highs.changeCoeff(0, int(slack), float(cost))

    def solve(self) -> Floats | None:
        self.highs.run()
        if self.highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        values = np.array(self.highs.getSolution().col_value)
        return np.asarray(values[: self.size] - values[self.size : 2 * self.size])

    def advance(self) -> bool:
        return False
