"""Sparse rows as dense blocks: neighbours, and the columns that any of them reads."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Batch = NDArray[np.floating]

# Rows of a block; columns are picked where they are at most this share of all.
TALL, PICKED = 64, 0.6


class RowBlock(NamedTuple):
    """Neighbouring rows: their numbers in both precisions, over some of the columns."""

    rows: slice
    columns: slice | NDArray[np.intp]
    exact: Floats
    single: Singles

    def of(self, dtype: np.dtype[np.floating]) -> Batch:
        """The numbers in a precision."""
        return self.exact if dtype == np.float64 else self.single


class RowBlocks:
    """Rows that many combinations are taken of, and points evaluated at, side by side.

    Neurons of a convolution that lie next to each other read next to the same window, so that
    blocks hold few zeros, and a product of matrices needs no index per number.

    Parameters
    ----------
    matrix
        (rows, columns).
    """

    def __init__(self, matrix: sparse.csr_array) -> None:
        self.count, self.width = matrix.shape
        self.blocks = [
            _block(matrix, slice(first, min(first + TALL, self.count)))
            for first in range(0, self.count, TALL)
        ]

    def add_combined(self, multipliers: Batch, into: Batch) -> None:
        """Add the rows, times multipliers (rows, n), to arrays (columns or more, n) in place."""
        for block in self.blocks:
            into[block.columns] += block.of(into.dtype).T @ multipliers[block.rows]

    def values(self, points: Batch) -> Batch:
        """(rows, n) the rows times points (columns or more, n)."""
        found = np.empty((self.count, points.shape[1]), points.dtype)
        for block in self.blocks:
            np.matmul(block.of(points.dtype), points[block.columns], out=found[block.rows])
        return found

    @property
    def size(self) -> int:
        """Numbers that are stored."""
        return sum(block.exact.size for block in self.blocks)


def _block(matrix: sparse.csr_array, rows: slice) -> RowBlock:
    part = sparse.csr_array(matrix[rows])
    used = np.unique(part.indices)
    if len(used) > PICKED * matrix.shape[1]:
        exact, columns = part.toarray(), slice(0, matrix.shape[1])
        return RowBlock(rows, columns, exact, exact.astype(np.float32))
    exact = np.zeros((part.shape[0], len(used)))
    at = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
    exact[at, np.searchsorted(used, part.indices)] = part.data
    return RowBlock(rows, used.astype(np.intp), exact, exact.astype(np.float32))
