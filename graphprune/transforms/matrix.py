"""Segments as sparse matrices in float64, one per source, built through the operator protocol.

An operator may have a method ``matrices(*input shapes)`` that returns one ``scipy.sparse`` matrix
per input; for any other the units of every input are pushed through its ``linear`` form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import DTypeLike, NDArray

from graphprune.errors import GraphpruneError
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import (
    BATCH,
    AffineOperator,
    Network,
    Segment,
    Shape,
    affine,
    data_inputs,
    sample_shape,
    size,
)

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
# Units pushed through an operator at once, in elements of its widest tensor.
CHUNK = 1 << 22
# Bytes that a network's matrices may always take.
ALWAYS = 2 << 30
# Elements of a constant that is fed to a run.
LARGE = 1 << 10
# Within these, no product of weights underflows, and what underflow loses elsewhere stays small.
RANGE = (1e-290, 1e100)


@dataclass(frozen=True, eq=False)
class SegmentMatrix:
    """target = sum over sources of weight . source + offset, in float64.

    Attributes
    ----------
    weights
        One (target size, source size) matrix per source of the segment.
    sizes
        The same products with absolute factors: at least ``abs(weights)``, what the rounding
        errors of composing and of applying the matrices are proportional to.
    offset, offset_size
        (target size,).
    roundings
        Roundings that a matrix entry or offset went through, at most.
    """

    weights: "tuple[csr_array[Any], ...]"
    sizes: "tuple[csr_array[Any], ...]"
    offset: Floats
    offset_size: Floats
    roundings: int


@dataclass
class _AffineForm:
    """A value as an affine map of the segment's sources.

    No product of a path's weights is less than `least`, and no row's sum of them is more than
    `most`, zeros left out.
    """

    weights: dict[int, Any]
    sizes: dict[int, Any]
    offset: Floats
    offset_size: Floats
    least: float = 1.0
    most: float = 1.0


def segment_matrix(segment: Segment) -> SegmentMatrix:
    """The matrices of a segment; memory is proportional to its ``multiply_adds``.

    Raises
    ------
    GraphpruneError
        A product of weights leaves `RANGE`.
    """
    from scipy.sparse import csr_array, eye_array

    forms: dict[int, _AffineForm] = {}
    for source in segment.sources:
        unit = csr_array(eye_array(size(source)))
        zero = np.zeros(size(source))
        forms[id(source)] = _AffineForm({id(source): unit}, {id(source): unit}, zero, zero)
    for node in segment.nodes:
        inputs = data_inputs(node)
        forms[id(node.outputs[0])] = _compose(
            affine(node), [sample_shape(v) for v in inputs], [forms[id(v)] for v in inputs]
        )
    form = forms[id(segment.target)]
    missing = [s for s in segment.sources if id(s) not in form.weights]
    for source in missing:
        empty = csr_array((size(segment.target), size(source)))
        form.weights[id(source)] = form.sizes[id(source)] = empty
    return SegmentMatrix(
        tuple(form.weights[id(s)] for s in segment.sources),
        tuple(form.sizes[id(s)] for s in segment.sources),
        form.offset,
        form.offset_size,
        2 * segment.rounding,
    )


def matrix_bytes(network: Network) -> int:
    """Memory of the matrices of all segments, about: a weight, its size and their places."""
    return network.multiply_adds * 24


def matrices_fit(network: Network, memory: int) -> bool:
    """True where the matrices of all segments fit into so many bytes, or into `ALWAYS`."""
    return matrix_bytes(network) <= max(memory, ALWAYS)


def matrix_of(network: Network, index: int) -> SegmentMatrix:
    """The matrices of segment number `index`, made once per network."""
    make = partial(segment_matrix, network.segments[index])
    return network.cached(("segment matrix", index), make)


def composed(network: Network, index: int) -> SegmentMatrix:
    """The matrices of segment number `index`: those that `matrix_of` has made, else new ones."""
    key = "segment matrix", index
    return (
        matrix_of(network, index) if network.holds(key) else segment_matrix(network.segments[index])
    )


def _compose(
    op: AffineOperator, shapes: Sequence[Shape], inputs: Sequence[_AffineForm]
) -> _AffineForm:
    at_zero = _run(op, shapes, [np.zeros((1, *s)) for s in shapes], linear=False).reshape(-1)
    result = _AffineForm({}, {}, at_zero.copy(), np.abs(at_zero), 1.0, 0.0)
    for matrix, form in zip(matrices(op, shapes), inputs, strict=True):
        absolute = abs(matrix)
        result.offset += matrix @ form.offset
        result.offset_size += absolute @ form.offset_size
        some = absolute.data[absolute.data != 0]
        result.least = min(result.least, form.least * float(some.min(initial=1.0)))
        sums = np.asarray(absolute.sum(axis=1))
        result.most += form.most * max(1.0, float(sums.max(initial=0.0)))
        for source, weight in form.weights.items():
            _accumulate(result.weights, source, matrix @ weight)
            _accumulate(result.sizes, source, absolute @ form.sizes[source])
    if not RANGE[0] <= result.least <= result.most <= RANGE[1]:
        raise GraphpruneError(
            "products of weights of consecutive layers lie between"
            f" {result.least:.0e} and {result.most:.0e}, float64 needs {RANGE[0]:.0e} to"
            f" {RANGE[1]:.0e}: rescale the layers"
        )
    return result


def _accumulate(sums: dict[int, Any], key: int, term: Any) -> None:
    sums[key] = sums[key] + term if key in sums else term


def matrices(op: AffineOperator, shapes: Sequence[Shape]) -> "tuple[csr_array[Any], ...]":
    """One sparse matrix per input of an operator whose inputs have these sample shapes."""
    own = getattr(op, "matrices", None)
    if own is not None:
        direct: tuple[csr_array[Any], ...] = own(*shapes)
        return direct
    return tuple(_by_units(op, shapes, i) for i in range(len(shapes)))


def _by_units(op: AffineOperator, shapes: Sequence[Shape], which: int) -> "csr_array[Any]":
    """Columns of the matrix of input `which`, a block of units at a time."""
    from scipy.sparse import csr_array, hstack

    width = int(np.prod(shapes[which]))
    widest = max(1, *(int(np.prod(s)) for s in (*shapes, op.output_shape(*shapes))))
    step = max(1, CHUNK // widest)
    blocks = []
    for start in range(0, width, step):
        count = min(step, width - start)
        feeds = [np.zeros((count, *s)) for s in shapes]
        feeds[which].reshape(count, -1)[np.arange(count), start + np.arange(count)] = 1.0
        blocks.append(csr_array(_run(op, shapes, feeds, linear=True).reshape(count, -1).T))
    out = int(np.prod(op.output_shape(*shapes)))
    return csr_array(hstack(blocks)) if blocks else csr_array((out, width))


def run_operator(op: AffineOperator, shapes: Sequence[Shape], values: Sequence[Floats]) -> Floats:
    """The operator on values (N, *sample) in float64, whose samples have these shapes."""
    return _run(op, shapes, values, linear=False)


class _FeedingBuilder(GraphBuilder):
    """Makes inputs of large constants, so that a run need not write and parse them."""

    def __init__(self, dtype: DTypeLike) -> None:
        super().__init__(dtype)
        self.fed: dict[str, NDArray[Any]] = {}

    def constant(self, array: NDArray[np.generic], hint: str = "const") -> ir.Value:
        if array.dtype.kind != "f" or array.size < LARGE:
            return super().constant(array, hint)
        value = self.input(hint, array.shape)
        self.fed[str(value.name)] = array.astype(self.dtype, copy=False)
        return value


def _run(
    op: AffineOperator, shapes: Sequence[Shape], feeds: Sequence[Floats], *, linear: bool
) -> Floats:
    """The operator on values (N, *sample), by the reference implementation of the standard."""
    from graphprune.functions.evaluator import Evaluator

    b = _FeedingBuilder(np.float64)
    inputs = [b.input(f"x{i}", [BATCH, *shape]) for i, shape in enumerate(shapes)]
    b.output((op.linear if linear else op.forward)(b, *inputs), "y")
    evaluator = Evaluator(ir.to_proto(b.build("operator")))
    named = {f"x{i}": feed for i, feed in enumerate(feeds)} | b.fed
    outputs = evaluator.run(named)
    return np.asarray(outputs[0], dtype=np.float64)
