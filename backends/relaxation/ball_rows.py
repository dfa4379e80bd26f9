"""Rows of a linear program that hold points in the ball of a p-norm.

A column s_i per input with s_i >= |x_i - center_i|^p, and one row sum s_i <= r^p. In l1 two rows
per input say that exactly. For larger p tangents do, added where an optimum violates them: one
per input and round closes in like Newton's method, while tangents of the ball itself would need as
many rounds as there are inputs. A program with too few of them is a relaxation of the one asked.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.relaxation.kernels import RegionBox
from graphprune.runtime.highs import INFINITY, Solver

Floats = NDArray[np.float64]

# A tangent is added where it changes the sum by this share of r^p; so much may be missing in all.
NEGLIGIBLE, NEAR = 1e-9, 1e-7


class BallRows:
    """Columns and rows of a ball in a solver whose first columns are the inputs.

    Parameters
    ----------
    first
        The index that the first new column gets: the number of columns that there are.
    """

    def __init__(self, highs: Solver, box: RegionBox, first: int) -> None:
        assert box.ball is not None
        self.highs, self.center = highs, box.center
        self.order = box.ball.order
        n = len(box.center)
        self.first = first
        self.columns = np.arange(first, first + n, dtype=np.int32)
        self._whole = highs.getNumRow()
        highs.addVars(n, np.zeros(n), np.full(n, INFINITY))
        total = sparse.csr_array(
            (np.ones(n), (np.zeros(n, np.intp), self.columns)), shape=(1, first + n)
        )
        highs.add_matrix(total, np.full(1, -INFINITY), np.full(1, INFINITY))
        self.limit(box.ball.radius)
        if self.order == 1:
            for sign in (1.0, -1.0):
                self._add_tangents(np.arange(n), np.full(n, sign))

    def limit(self, radius: float) -> None:
        """Give the ball another radius."""
        self.power = radius**self.order
        self.highs.changeRowBounds(self._whole, -INFINITY, self.power)

    def minimise_length(self) -> None:
        """Make the length the objective, of which every other part must be 0."""
        count = len(self.columns)
        self.highs.changeColsCost(count, self.columns, np.ones(count))

    def tighten(self, columns: Floats) -> bool:
        """Add the tangents that a solution lacks; False where it lacks next to none."""
        if self.order == 1:
            return False
        step = columns[: len(self.center)] - self.center
        missing = np.abs(step) ** self.order - columns[self.columns]
        if not missing[missing > 0.0].sum() > NEAR * max(self.power, columns[self.columns].sum()):
            return False
        at = np.flatnonzero(missing > NEGLIGIBLE * self.power)
        self._add_tangents(at, step[at])
        return len(at) > 0

    def _add_tangents(self, inputs: NDArray[np.intp], steps: Floats) -> None:
        """Add s_i >= |y|^p + p |y|^(p-1) sign(y) (x_i - center_i - y) at steps y."""
        p, count = self.order, len(inputs)
        slope = p * np.abs(steps) ** (p - 1) * np.sign(steps)
        each = np.arange(count)
        rows = sparse.csr_array(
            (
                np.concatenate([np.ones(count), -slope]),
                (np.tile(each, 2), np.concatenate([self.columns[inputs], inputs])),
            ),
            shape=(count, self.first + len(self.center)),
        )
        least = np.abs(steps) ** p - slope * (steps + self.center[inputs])
        self.highs.add_matrix(rows, least, np.full(count, INFINITY))
