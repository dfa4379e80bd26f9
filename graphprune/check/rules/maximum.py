"""Maxima as trees of max(a, b) = b + relu(a - b).

A pool is separable: each axis of the image, the last one first, gets a tree of its own. A tree
works on windows, the tuples of cells that one output covers. A window of more than one cell is
split into its first 2^k cells and the rest, 2^k the largest power of two below its length; windows
that several outputs share are computed once. All windows of one depth are one ReLU, in the order in
which they are met: those of the outputs, then from the deepest level down the halves of each.
"""

from functools import reduce
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy import sparse

from graphprune.check.reader import (
    Attributes,
    ModelReader,
    UnreadableError,
    negative,
    reads,
    selection,
    spread,
)
from graphprune.check.rules.convolution import window
from graphprune.check.steps import Shape

Cells = tuple[int, ...]


def _halves(cells: Cells) -> tuple[Cells, Cells]:
    half = 1 << (_depth(cells) - 1)
    return cells[:half], cells[half:]


def _depth(cells: Cells) -> int:
    return (len(cells) - 1).bit_length()


def _levels(windows: list[Cells]) -> list[list[Cells]]:
    """The windows to be computed, by depth; the first level is that of single cells."""
    levels: list[dict[Cells, None]] = [{} for _ in range(max(map(_depth, windows)) + 1)]
    for cells in windows:
        levels[_depth(cells)][cells] = None
    for level in levels[:0:-1]:
        for cells in level:
            for half in _halves(cells):
                levels[_depth(half)][half] = None
    return [list(level) for level in levels]


def _taken(shape: Shape, axis: int, places: list[int]) -> tuple[sparse.csr_array, Shape]:
    """The matrix that takes cells along an axis, and the shape of what it gives."""
    every: NDArray[np.int64] = np.arange(prod(shape)).reshape(shape).take(places, axis)
    return selection(every.reshape(-1), prod(shape)), every.shape


def _maxima(r: ModelReader, x: str, axis: int, windows: list[Cells]) -> str:
    """The maximum over each window of cells along an axis of a sample."""
    known: dict[Cells, int] = {(i,): i for i in range(r.shape(x)[axis])}
    for level in _levels(windows)[1:]:
        shape = r.shape(x)
        left, right = (_taken(shape, axis, [known[_halves(w)[k]] for w in level]) for k in (0, 1))
        difference = r.affine(left[1], x, sparse.csr_array(left[0] - right[0]))
        higher = r.affine(left[1], x, right[0], plus=r.relu(difference))
        x = _joined(r, axis, x, higher)
        known |= {w: shape[axis] + i for i, w in enumerate(level)}
    matrix, shape = _taken(r.shape(x), axis, [known[w] for w in windows])
    return r.affine(shape, x, matrix)


def _joined(r: ModelReader, axis: int, a: str, b: str) -> str:
    first, second = r.shape(a), r.shape(b)
    shape = tuple(n + (second[axis] if i == axis else 0) for i, n in enumerate(first))
    places = np.arange(prod(shape)).reshape(shape)
    parts = np.split(places, [first[axis]], axis)
    into = [sparse.csr_array(selection(part.reshape(-1), prod(shape)).T) for part in parts]
    return r.affine(shape, b, into[1], plus=r.affine(shape, a, into[0]))


@reads("MaxPool")
def _max_pool(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    if len(node.output) > 1 and node.output[1]:
        raise UnreadableError("its indices are not supported")
    a.pop("storage_order", None)
    x, shape = node.input[0], r.shape(node.input[0])
    kernel = tuple(a.pop("kernel_shape"))
    if len(kernel) != len(shape) - 1:
        raise UnreadableError("kernel and input do not fit")
    w = window(a, shape[1:], kernel)
    for i in reversed(range(len(kernel))):
        starts = range(-w.before[i], w.outs[i] * w.strides[i] - w.before[i], w.strides[i])
        cells = [[start + k * w.dilations[i] for k in range(kernel[i])] for start in starts]
        windows = [tuple(c for c in own if 0 <= c < shape[1 + i]) for own in cells]
        if not all(windows):
            raise UnreadableError("a window lies in the padding alone")
        x = _maxima(r, x, 1 + i, windows)
    r.same(node, r.shape(x), x)


@reads("GlobalMaxPool")
def _global_max_pool(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    channels, *sides = r.shape(node.input[0])
    flat = r.affine((channels, prod(sides)), node.input[0])
    top = _maxima(r, flat, 1, [tuple(range(prod(sides)))])
    r.same(node, (channels, *(1 for _ in sides)), top)


@reads("ReduceMax", "ReduceMin")
def _along_axes(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    """Maxima along axes of a sample; minima are -max(-x)."""
    flip, axes, x = node.op_type == "ReduceMin", r.axes(node, a), node.input[0]
    x = _negated(r, x) if flip else x
    for axis in axes:
        x = _maxima(r, x, axis, [tuple(range(r.shape(x)[axis]))])
    x = _negated(r, x) if flip else x
    keep = a.pop("keepdims", 1)
    out = r.shape(x) if keep else tuple(n for i, n in enumerate(r.shape(x)) if i not in axes)
    r.same(node, out, x)


def _negated(r: ModelReader, x: str) -> str:
    return r.affine(r.shape(x), x, negative(r.shape(x)))


@reads("Max", "Min")
def _extreme(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    """Maxima of tensors of one shape, the constants last; minima are -max(-x)."""
    flip = node.op_type == "Min"
    tensors = [name for name in node.input if name not in r.constants]
    if not tensors or len({r.shape(name) for name in tensors}) != 1:
        raise UnreadableError("only tensors of one shape are compared")
    shape = r.shape(tensors[0])
    constants = [spread(r.constants[name], shape) for name in node.input if name in r.constants]
    if flip:
        tensors = [_negated(r, name) for name in tensors]
        constants = [-constant for constant in constants]

    def larger(x: str, y: str) -> str:
        above = r.relu(r.affine(shape, y, negative(shape), plus=x))
        return r.affine(shape, above, plus=y)

    top = reduce(larger, tensors)
    if constants:
        least = reduce(np.maximum, constants)
        top = r.affine(shape, r.relu(r.affine(shape, top, bias=-least)), bias=least)
    r.same(node, shape, _negated(r, top) if flip else top)
