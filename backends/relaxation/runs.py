"""Sparse rows as runs of neighbouring columns, over which the kernels use vector instructions."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

# Columns without a number between two others that are stored as zeros: a run more costs as much.
GAP = 7


class RowRuns(NamedTuple):
    """Compressed rows, the short gaps between their columns filled with zeros.

    Attributes
    ----------
    indptr, indices, values
        As of a compressed sparse matrix, columns ascending.
    row_runs
        Row j has the runs ``row_runs[j]`` to ``row_runs[j + 1] - 1``.
    runs
        Run r has the numbers ``runs[r]`` to ``runs[r + 1] - 1``, of columns that follow on each
        other.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float64]
    row_runs: NDArray[np.int64]
    runs: NDArray[np.int64]


def as_runs(matrix: sparse.csr_array) -> RowRuns:
    """Return a matrix' rows as runs."""
    ordered = sparse.csr_array(matrix, copy=True)
    ordered.sum_duplicates()  # and sorts
    columns = ordered.indices.astype(np.int64)
    count = np.diff(ordered.indptr)
    gaps = np.diff(columns, prepend=-1) - 1
    starts_row = np.zeros(len(columns), np.bool_)
    starts_row[ordered.indptr[:-1][count > 0]] = True
    starts_run = starts_row | (gaps > GAP)
    # Places of the numbers among those and the zeros that are put between them.
    places = np.arange(len(columns)) + np.cumsum(np.where(starts_run, 0, gaps))
    total = int(places[-1]) + 1 if len(places) else 0
    values = np.zeros(total)
    values[places] = ordered.data
    first = np.flatnonzero(starts_run)
    runs = np.append(places[first], total).astype(np.int64)
    shift = np.repeat(columns[first] - runs[:-1], np.diff(runs))
    row_runs = np.concatenate([[0], np.cumsum(starts_run)])[ordered.indptr].astype(np.int64)
    return RowRuns(
        runs[row_runs], (np.arange(total) + shift).astype(np.int32), values, row_runs, runs
    )
