"""The network as sparse rows over its inputs and neurons, in float64: what the kernels read."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.reference.runtime import run_segment, segment_offset
from graphprune.errors import UnsupportedError
from graphprune.ir.network import Network, activation_of, sample_shape, size
from graphprune.operators import Relu

Floats = NDArray[np.float64]

UNIT = 2.0**-53
# Entries of one block of unit vectors pushed through a segment.
BLOCK = 1 << 22


class Rows(NamedTuple):
    """Pre-activation j is ``values[a:b] . v[indices[a:b]] + offset[j]``, a, b = indptr[j:j + 2].

    Attributes
    ----------
    inputs
        Size of the input; the basis v is the input followed by every neuron's output.
    indptr, indices, values
        Rows of all activation layers under one another, then the rows of the outputs.
    offset
        Their constants.
    starts
        Index of every layer's first neuron, then the number of neurons.
    gamma
        Relative error of one pass of sums over these rows, the rounding of the rows included.
    """

    inputs: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: Floats
    offset: Floats
    starts: NDArray[np.int64]
    gamma: float


def rows_of(network: Network) -> Rows:
    """Materialise every segment of a ReLU network.

    Raises
    ------
    UnsupportedError
        The network has activations other than ReLU.
    """
    return network.cached("verify rows", lambda: _rows_of(network))


def _rows_of(network: Network) -> Rows:
    inputs = size(network.input)
    places = {id(network.input): 0}
    basis = inputs
    starts = [0]
    for activation in network.activations:
        if not isinstance(activation_of(activation), Relu):
            raise UnsupportedError(f"node '{activation.name}': exact search knows ReLU only")
        out = activation.outputs[0]
        places[id(out)] = basis
        basis += size(out)
        starts.append(basis - inputs)
    blocks, offsets = [], []
    for index, segment in enumerate(network.segments):
        height = size(segment.target)
        block = sparse.csr_array((height, basis))
        for which, source in enumerate(segment.sources):
            matrix = _matrix(network, index, which).tocoo()
            columns = matrix.coords[1].astype(np.int64) + places[id(source)]
            placed = sparse.coo_array(
                (matrix.data, (matrix.coords[0].astype(np.int64), columns)), shape=(height, basis)
            )
            block = sparse.csr_array(block + placed.tocsr())
        blocks.append(block)
        offsets.append(segment_offset(network, segment).reshape(-1))
    stacked = sparse.csr_array(sparse.vstack(blocks, format="csr"))
    stacked.sort_indices()
    longest = int(np.max(np.diff(stacked.indptr), initial=0))
    roundings = max(segment.rounding for segment in network.segments) + longest + basis + 64
    return Rows(
        inputs, stacked.indptr.astype(np.int64), stacked.indices.astype(np.int64),
        stacked.data.astype(np.float64), np.concatenate(offsets),
        np.array(starts, np.int64), 4.0 * roundings * UNIT,
    )  # fmt: skip


def _matrix(network: Network, index: int, which: int) -> sparse.csr_array:
    """A segment's matrix (target, source) for one of its sources."""
    segment = network.segments[index]
    width, height = size(segment.sources[which]), size(segment.target)
    step = max(1, BLOCK // max(width, height))
    blocks = []
    for start in range(0, width, step):
        count = min(step, width - start)
        units = np.zeros((count, width))
        units[np.arange(count), start + np.arange(count)] = 1.0
        feeds = [
            units.reshape(count, *sample_shape(source))
            if i == which
            else np.zeros((count, *sample_shape(source)))
            for i, source in enumerate(segment.sources)
        ]
        pushed = run_segment(network, segment, feeds, linear=True)
        blocks.append(sparse.csr_array(pushed.reshape(count, height)))
    return sparse.csr_array(sparse.vstack(blocks, format="csr").T)
