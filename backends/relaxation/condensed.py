"""The network on a ball, condensed: sparse affine rows over the input and the unstable neurons.

Neurons that the bounds prove inactive are 0, active ones are the affine map below them, so only
unstable neurons remain as variables. Every segment is materialised once per network as a sparse
matrix; a condensation is then a sparse product per layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.relaxation.runs import RowRuns, as_runs
from graphprune.bounds import LayerBounds
from graphprune.errors import OutOfTimeError, UnsupportedError
from graphprune.ir.network import Network, activation_of, sample_shape, size
from graphprune.operators import Relu
from graphprune.region import Region
from graphprune.transforms.matrix import matrix_of

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

UNIT = 2.0**-53
# From this share of numbers that are not 0 on, and up to so many numbers, rows are multiplied as a
# dense matrix; products of so many numbers are made at a time.
DENSE, HELD, CHUNK = 0.3, 1 << 25, 1 << 22


@dataclass(frozen=True, eq=False)
class UnstableLayer:
    """The unstable neurons of one activation layer.

    Attributes
    ----------
    rows
        Sparse (k, basis below): pre-activations over the basis below this layer.
    offset
        (k,).
    lower, upper
        (k,) certified pre-activation bounds, lower < 0 < upper.
    error
        (k,) what evaluating a row in float64 anywhere on the ball can be wrong by, the rounding
        of the condensation itself included.
    start
        Index of the layer's first neuron in the basis.
    neurons
        (k,) their indices in the activation layer.
    """

    rows: sparse.csr_array
    offset: Floats
    lower: Floats
    upper: Floats
    error: Floats
    start: int
    neurons: Indices


@dataclass(frozen=True, eq=False)
class Condensed:
    """The basis is the flat input followed by every layer's unstable neurons.

    Attributes
    ----------
    inputs
        Size of the input.
    layers
        In graph order.
    logits
        (classes, basis).
    offset, error
        (classes,).
    """

    inputs: int
    layers: tuple[UnstableLayer, ...]
    logits: Floats
    offset: Floats
    error: Floats

    @cached_property
    def flat(self) -> RowRuns:
        """All layers' rows under one another."""
        blocks = [widened(layer.rows, self.basis) for layer in self.layers]
        empty = sparse.csr_array((0, self.basis))
        return as_runs(sparse.csr_array(sparse.vstack([empty, *blocks], format="csr")))

    @property
    def unstable(self) -> int:
        """Number of unstable neurons."""
        return sum(len(layer.offset) for layer in self.layers)

    @property
    def basis(self) -> int:
        return self.inputs + self.unstable


@dataclass(frozen=True, eq=False)
class _Form:
    """A value as rows over the basis so far.

    `rows` are those of the elements `alive` alone, a dense array where few numbers are 0; the
    others are 0. `magnitude` bounds the sum of absolute terms of every row over the ball, products
    of weights along stable neurons included: what rounding errors are proportional to.
    """

    rows: sparse.csr_array | Floats
    alive: Indices
    offset: Floats
    magnitude: Floats


def bounds_of(layers: Sequence[LayerBounds]) -> list[tuple[Floats, Floats]]:
    """Bounds of a batch of one box, widened to float64."""
    return [(x.lower[0].astype(np.float64), x.upper[0].astype(np.float64)) for x in layers]


def condense(
    network: Network, bounds: Sequence[tuple[Floats, Floats]], ball: Region, deadline: float = inf
) -> Condensed:
    """Condense a ReLU network over a ball.

    Parameters
    ----------
    bounds
        Per activation, in graph order: flat lower and upper pre-activation bounds on the ball.
    deadline
        On the clock of :func:`time.monotonic`.

    Raises
    ------
    UnsupportedError
        The network has activations other than ReLU.
    OutOfTimeError
        The deadline passed.
    """
    inputs = size(network.input)
    extent = np.maximum(np.abs(ball.lower), np.abs(ball.upper)).reshape(-1)
    eye = sparse.csr_array(sparse.eye_array(inputs, format="csr"))
    forms = {id(network.input): _Form(eye, np.arange(inputs), np.zeros(inputs), extent)}
    basis = inputs
    roundings = 64 + inputs
    layers = []
    for index, activation in enumerate(network.activations):
        if not isinstance(activation_of(activation), Relu):
            raise UnsupportedError(f"node '{activation.name}': exact search knows ReLU only")
        roundings += _roundings(network, index)
        lower, upper = bounds[index]
        unstable = _place_by_place(
            np.flatnonzero((lower < 0) & (upper > 0) & network.live(activation)),
            sample_shape(activation.outputs[0]),
        )
        active = lower >= 0
        read = active.copy()
        read[unstable] = True
        z = _push(network, index, forms, basis, np.flatnonzero(read), deadline)
        place = np.searchsorted(z.alive, unstable)
        layers.append(
            UnstableLayer(
                sparse.csr_array(z.rows[place]), z.offset[unstable],
                lower[unstable], upper[unstable], z.magnitude[unstable], basis, unstable,
            )
        )  # fmt: skip
        magnitude = np.where(active, z.magnitude, 0.0)
        magnitude[unstable] = upper[unstable]
        out = activation.outputs[0]
        rows = _through(z.rows, place)
        forms[id(out)] = _Form(rows, z.alive, np.where(active, z.offset, 0.0), magnitude)
        basis += len(unstable)
    roundings += _roundings(network, len(network.activations)) + basis
    every = np.arange(size(network.output))
    z = _push(network, len(network.activations), forms, basis, every, deadline)
    # Errors of a row: gamma of all roundings a term can pass, twice for evaluating sums with it.
    gamma = 4.0 * roundings * UNIT
    return Condensed(
        inputs,
        tuple(
            UnstableLayer(
                layer.rows, layer.offset, layer.lower, layer.upper, gamma * layer.error + 1e-300,
                layer.start, layer.neurons,
            )
            for layer in layers
        ),
        z.rows if isinstance(z.rows, np.ndarray) else z.rows.toarray(),
        z.offset,
        gamma * z.magnitude + 1e-300,
    )  # fmt: skip


def _place_by_place(neurons: Indices, shape: tuple[int, ...]) -> Indices:
    """Order a feature map's neurons by place, then channel: windows become runs of columns."""
    channel, place = np.divmod(neurons, prod(shape[1:]))
    return neurons[np.lexsort((channel, place))]


def _roundings(network: Network, index: int) -> int:
    matrix = matrix_of(network, index)
    widths = [int(np.max(np.diff(w.indptr), initial=0)) for w in matrix.weights]
    return matrix.roundings + sum(widths)


def widened(matrix: sparse.csr_array, width: int) -> sparse.csr_array:
    """The matrix with empty columns added on the right."""
    parts = (matrix.data, matrix.indices, matrix.indptr)
    return sparse.csr_array(parts, shape=(matrix.shape[0], width))


def _through(rows: sparse.csr_array | Floats, unstable: Indices) -> sparse.csr_array | Floats:
    """Rows of pre-activations become those of a ReLU's outputs: units where it is unstable."""
    count, basis = rows.shape
    if isinstance(rows, np.ndarray):
        wider = np.zeros((count, basis + len(unstable)))
        wider[:, :basis] = rows
        wider[unstable] = 0.0
        wider[unstable, basis + np.arange(len(unstable))] = 1.0
        return wider
    kept = np.ones(count)
    kept[unstable] = 0.0
    stable = sparse.csr_array(sparse.diags_array(kept) @ rows)
    stable.eliminate_zeros()
    entries = (np.ones(len(unstable)), (unstable, np.arange(len(unstable))))
    units = sparse.csr_array(entries, shape=(count, len(unstable)))
    return sparse.csr_array(sparse.hstack([stable, units], format="csr"))


def _push(
    network: Network, index: int, forms: dict[int, _Form], basis: int, neurons: Indices,
    deadline: float,
) -> _Form:  # fmt: skip
    """Some elements of the target of a segment over the basis so far."""
    segment = matrix_of(network, index)
    offset, magnitude = segment.offset.copy(), segment.offset_size.copy()
    below: list[tuple[sparse.csr_array, sparse.csr_array | Floats]] = []
    for weight, absolute, source in zip(
        segment.weights, segment.sizes, network.segments[index].sources, strict=True
    ):
        form = forms[id(source)]
        below.append((sparse.csr_array(weight[neurons][:, form.alive]), form.rows))
        offset += weight @ form.offset
        magnitude += absolute @ form.magnitude
    dense = any(isinstance(rows, np.ndarray) for _, rows in below)
    dense = dense and len(neurons) * basis <= HELD
    whole = np.zeros((len(neurons) if dense else 0, basis))
    parts = [sparse.csr_array((0, basis))]
    step = max(1, CHUNK // max(basis, 1))
    for start in range(0, len(neurons), step):
        if monotonic() >= deadline:
            raise OutOfTimeError("time was over before the network was condensed")
        part = slice(start, start + step)
        if dense:
            for weight, rows in below:
                product = weight[part] @ rows
                product = product if isinstance(product, np.ndarray) else product.toarray()
                whole[part, : product.shape[1]] += product
            continue
        total = sparse.csr_array((len(neurons[part]), basis))
        for weight, rows in below:
            total = sparse.csr_array(total + widened(sparse.csr_array(weight[part] @ rows), basis))
        parts.append(total)
    if dense:
        return _Form(whole, neurons, offset, magnitude)
    found = sparse.csr_array(sparse.vstack(parts, format="csr"))
    full = DENSE * len(neurons) * basis < found.nnz and len(neurons) * basis <= HELD
    return _Form(found.toarray() if full else found, neurons, offset, magnitude)
