"""The network on a ball, condensed: sparse affine rows over the input and the unstable neurons.

Neurons that the bounds prove inactive are 0, active ones are the affine map below them, so only
unstable neurons remain as variables. Every segment is materialised once per network as a sparse
matrix; a condensation is then a sparse product per layer, compiled where rows are sparse: on small
networks scipy takes five times as long, which is most of a question that roots decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod
from time import monotonic

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.relaxation.kernels.condensing import NOWHERE, CompressedRows, pushed_rows
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
# Share of a weight's numbers that are not 0, from which on its product with dense rows is one of
# dense matrices: these take a twentieth of the time per number.
FULL = 0.05


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
    others are 0. Sparse ones are read through `places` (see :func:`pushed_rows`), where elements
    may be of the basis themselves. `magnitude` bounds the sum of absolute terms of every row over
    the ball, products of weights along stable neurons included: what rounding errors are
    proportional to.
    """

    rows: CompressedRows | Floats
    alive: Indices
    places: Indices
    offset: Floats
    magnitude: Floats

    def matrix(self, basis: int) -> sparse.csr_array:
        """Return the rows as a sparse matrix."""
        if isinstance(self.rows, np.ndarray):
            return sparse.csr_array(self.rows)
        return _matrix(self.rows, basis)


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
    every = np.arange(inputs)
    nothing = CompressedRows(np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0))
    forms = {id(network.input): _Form(nothing, every, -2 - every, np.zeros(inputs), extent)}
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
                _taken(z.rows, place, basis), z.offset[unstable],
                lower[unstable], upper[unstable], z.magnitude[unstable], basis, unstable,
            )
        )  # fmt: skip
        magnitude = np.where(active, z.magnitude, 0.0)
        magnitude[unstable] = upper[unstable]
        out = activation.outputs[0]
        rows, places = z.rows, z.places
        if isinstance(rows, np.ndarray):
            rows = _through(rows, place)
        places[unstable] = -2 - basis - np.arange(len(unstable))
        offset = np.where(active, z.offset, 0.0)
        forms[id(out)] = _Form(rows, z.alive, places, offset, magnitude)
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
        z.rows if isinstance(z.rows, np.ndarray) else z.matrix(basis).toarray(),
        z.offset,
        gamma * z.magnitude + 1e-300,
    )  # fmt: skip


def _place_by_place(neurons: Indices, shape: tuple[int, ...]) -> Indices:
    """Order a feature map's neurons by place, then channel: windows become runs of columns."""
    channel, place = np.divmod(neurons, prod(shape[1:]))
    return neurons[np.lexsort((channel, place))]


def _roundings(network: Network, index: int) -> int:
    matrix = matrix_of(network, index)

    def widths() -> int:
        return sum(int(np.max(np.diff(w.indptr), initial=0)) for w in matrix.weights)

    return matrix.roundings + network.cached(("widths", index), widths)


def _matrix(rows: CompressedRows, width: int) -> sparse.csr_array:
    parts = (rows.values, rows.indices, rows.indptr)
    return sparse.csr_array(parts, shape=(len(rows.indptr) - 1, width))


def _taken(rows: CompressedRows | Floats, places: Indices, width: int) -> sparse.csr_array:
    """Some of the rows as a sparse matrix."""
    if isinstance(rows, np.ndarray):
        return sparse.csr_array(rows[places])
    starts = rows.indptr[places]
    counts = rows.indptr[places + 1] - starts
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    chosen = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], counts)
    return _matrix(CompressedRows(indptr, rows.indices[chosen], rows.values[chosen]), width)


def widened(matrix: sparse.csr_array, width: int) -> sparse.csr_array:
    """The matrix with empty columns added on the right."""
    parts = (matrix.data, matrix.indices, matrix.indptr)
    return sparse.csr_array(parts, shape=(matrix.shape[0], width))


def _through(rows: Floats, unstable: Indices) -> Floats:
    """Rows of pre-activations become those of a ReLU's outputs: units where it is unstable."""
    count, basis = rows.shape
    wider = np.zeros((count, basis + len(unstable)))
    wider[:, :basis] = rows
    wider[unstable] = 0.0
    wider[unstable, basis + np.arange(len(unstable))] = 1.0
    return wider


def _push(
    network: Network, index: int, forms: dict[int, _Form], basis: int, neurons: Indices,
    deadline: float,
) -> _Form:  # fmt: skip
    """Some elements of the target of a segment over the basis so far."""
    segment = matrix_of(network, index)
    offset, magnitude = segment.offset.copy(), segment.offset_size.copy()
    sources = [forms[id(source)] for source in network.segments[index].sources]
    for weight, absolute, form in zip(segment.weights, segment.sizes, sources, strict=True):
        offset += weight @ form.offset
        magnitude += absolute @ form.magnitude
    places = np.full(len(offset), NOWHERE)
    places[neurons] = np.arange(len(neurons))
    dense = any(isinstance(form.rows, np.ndarray) for form in sources)
    dense = dense and len(neurons) * basis <= HELD
    whole = np.zeros((len(neurons) if dense else 0, basis))
    parts = []
    step = max(1, CHUNK // max(basis, 1))
    for start in range(0, max(len(neurons), 1), step):
        if monotonic() >= deadline:
            raise OutOfTimeError("time was over before the network was condensed")
        part = slice(start, start + step)
        products = [
            _product(weight, form, neurons[part], basis)
            for weight, form in zip(segment.weights, sources, strict=True)
        ]
        if dense:
            for product in products:
                if not isinstance(product, np.ndarray):
                    product = _matrix(product, basis).toarray()
                whole[part, : product.shape[1]] += product
        else:
            parts.append(_summed(products, len(neurons[part]), basis))
    if dense:
        return _Form(whole, neurons, places, offset, magnitude)
    rows = parts[0]
    if len(parts) > 1:
        joined = sparse.vstack([_matrix(part, basis) for part in parts], format="csr")
        rows = _rows_of(sparse.csr_array(joined))
    full = DENSE * len(neurons) * basis < len(rows.values) and len(neurons) * basis <= HELD
    return _Form(
        _matrix(rows, basis).toarray() if full else rows, neurons, places, offset, magnitude
    )


def _summed(products: Sequence[CompressedRows | Floats], count: int, basis: int) -> CompressedRows:
    """The sum of so many rows each, sparse or dense ones that are too many to be kept so."""
    if len(products) == 1 and not isinstance(products[0], np.ndarray):
        return products[0]
    total = sparse.csr_array((count, basis))
    for product in products:
        own = product if isinstance(product, np.ndarray) else _matrix(product, basis)
        total = sparse.csr_array(total + widened(sparse.csr_array(own), basis))
    total.sort_indices()
    return _rows_of(total)


def _rows_of(matrix: sparse.csr_array) -> CompressedRows:
    """A matrix as kernels take it."""
    return CompressedRows(
        matrix.indptr.astype(np.int32, copy=False), matrix.indices.astype(np.int32, copy=False),
        np.asarray(matrix.data, np.float64),
    )  # fmt: skip


def _product(
    weight: sparse.csr_array, form: _Form, neurons: Indices, basis: int
) -> CompressedRows | Floats:
    """Return some rows of a weight times a form: dense where its rows are."""
    if isinstance(form.rows, np.ndarray):
        factor = sparse.csr_array(weight[neurons][:, form.alive])
        if factor.nnz > FULL * factor.shape[0] * factor.shape[1]:
            return np.asarray(factor.toarray() @ form.rows)
        return np.asarray(factor @ form.rows)
    return CompressedRows(*pushed_rows(_rows_of(weight), neurons, form.places, form.rows, basis))
