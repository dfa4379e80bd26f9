"""The network as sparse rows over its inputs and neurons, in float64, for the kernels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.errors import UnsupportedError
from graphprune.ir.network import Network, activation_of, size
from graphprune.operators import Relu
from graphprune.transforms.matrix import matrix_of

Floats = NDArray[np.float64]

UNIT = 2.0**-53


class NetworkRows(NamedTuple):
    """Pre-activation j is ``values[a:b] . v[indices[a:b]] + offset[j]``, a, b = indptr[j:j + 2].

    Attributes
    ----------
    inputs
        Size of the input; the basis v is the input followed by every neuron's output.
    indptr, indices, values
        NetworkRows of all activation layers under one another, then the rows of the outputs.
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


def rows_of(network: Network) -> NetworkRows:
    """Materialise every segment of a ReLU network.

    Raises
    ------
    UnsupportedError
        The network has activations other than ReLU.
    """
    return network.cached("verify rows", lambda: _rows_of(network))


def _rows_of(network: Network) -> NetworkRows:
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
    blocks, offsets, roundings = [], [], 0
    for index, segment in enumerate(network.segments):
        matrix = matrix_of(network, index)
        shape = (len(matrix.offset), basis)
        block = sparse.csr_array(shape)
        for weight, source in zip(matrix.weights, segment.sources, strict=True):
            placed = (weight.data, weight.indices + places[id(source)], weight.indptr)
            block = sparse.csr_array(block + sparse.csr_array(placed, shape=shape))
        blocks.append(block)
        offsets.append(matrix.offset)
        roundings = max(roundings, matrix.roundings)
    stacked = sparse.csr_array(sparse.vstack(blocks, format="csr"))
    stacked.eliminate_zeros()
    stacked.sort_indices()
    longest = int(np.max(np.diff(stacked.indptr), initial=0))
    return NetworkRows(
        inputs, stacked.indptr.astype(np.int64), stacked.indices.astype(np.int64), stacked.data,
        np.concatenate(offsets), np.array(starts, np.int64),
        4.0 * (roundings + longest + basis + 64) * UNIT,
    )  # fmt: skip
