"""Rows of a layer over the basis: a sparse product through the neurons that the bounds leave."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels.types import Floats
from graphprune.runtime.jit import kernel
from graphprune.runtime.loops import copy

# Where a place says that an element is 0; those before it are columns of the basis.
NOWHERE = -1


class CompressedRows(NamedTuple):
    """Compressed sparse rows, columns ascending; plain arrays without what scipy makes sure of."""

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    values: Floats


@kernel
def pushed_rows(
    weights: CompressedRows,
    neurons: NDArray[np.intp],
    places: NDArray[np.intp],
    below: CompressedRows,
    basis: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats]:
    """Return some rows of ``weights . source`` over the basis.

    Parameters
    ----------
    neurons
        The rows of the weights.
    places
        For every element of the source: its row in `below`; `NOWHERE` where it is 0; -2 - column
        where it is one of the basis.
    basis
        Number of columns.
    """
    sums, seen = np.zeros(basis), np.zeros(basis, np.bool_)
    indptr = np.zeros(len(neurons) + 1, np.int32)
    indices, values = np.empty(4 * basis, np.int32), np.empty(4 * basis)
    count = 0
    for r in range(len(neurons)):
        first, last = basis, -1
        for q in range(weights.indptr[neurons[r]], weights.indptr[neurons[r] + 1]):
            w, place = weights.values[q], places[weights.indices[q]]
            if place >= 0:
                start, end = below.indptr[place], below.indptr[place + 1]
                for p in range(start, end):
                    column = below.indices[p]
                    sums[column] += w * below.values[p]
                    seen[column] = True
                if start < end:
                    first = min(first, below.indices[start])
                    last = max(last, below.indices[end - 1])
            elif place != NOWHERE:
                column = -2 - place
                sums[column] += w
                seen[column] = True
                first, last = min(first, column), max(last, column)
        if count + basis > len(values):
            more, wider = np.empty(2 * len(values)), np.empty(2 * len(values), np.int32)
            copy(values, more[: len(values)])
            copy(indices, wider[: len(values)])
            values, indices = more, wider
        for column in range(first, last + 1):
            if seen[column]:
                indices[count], values[count] = column, sums[column]
                sums[column], seen[column] = 0.0, False
                count += 1
        indptr[r + 1] = count
    return indptr, indices[:count].copy(), values[:count].copy()
