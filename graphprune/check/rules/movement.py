"""Operators that move elements, put them beside each other, or fill with constants."""

from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from graphprune.check.reader import (
    Attributes,
    ModelReader,
    UnreadableError,
    own_axis,
    reads,
    selection,
)
from graphprune.check.steps import AffineStep, Shape


@reads("Flatten")
def _flatten(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape = r.shape(node.input[0])
    if a.pop("axis", 1) not in (1, -len(shape)):
        raise UnreadableError("only axis 1 is supported")
    r.same(node, (prod(shape),))


@reads("Reshape")
def _reshape(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape = r.shape(node.input[0])
    wanted = r.constant(node, 1)
    if wanted is None or wanted.ndim != 1 or len(wanted) < 2:
        raise UnreadableError("only a constant shape of two or more sides is supported")
    if a.pop("allowzero", 0) and not np.all(wanted):
        raise UnreadableError("an empty output is not supported")
    first, *sides = (int(side) for side in wanted)
    whole = (r.batch, *shape)
    sides = [whole[i + 1] if s == 0 and i + 1 < len(whole) else s for i, s in enumerate(sides)]
    known = prod(s for s in sides if s != -1)
    if first not in (0, -1, r.batch) or (first == -1) + sides.count(-1) > 1 or known <= 0:
        raise UnreadableError(f"shape {wanted.tolist()} does not keep the batch first")
    r.same(node, tuple(prod(shape) // known if s == -1 else s for s in sides))


@reads("Identity", "Dropout")
def _identity(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    if node.op_type == "Dropout":
        a.clear()
        if len(node.input) > 2 and node.input[2]:
            raise UnreadableError("training mode is not supported")
    if node.input[0] in r.constants:
        r.constants[node.output[0]] = r.constants[node.input[0]]
    else:
        r.same(node, r.shape(node.input[0]))


@reads("Constant")
def _constant(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    tensor = a.pop("value", None)
    if tensor is None:
        raise UnreadableError("only a tensor value is supported")
    r.constants[node.output[0]] = r.array(tensor, node.output[0])


def _places(shape: Shape) -> NDArray[np.int64]:
    """The number of every element of a sample."""
    return np.arange(prod(shape)).reshape(shape)


def _moved(r: ModelReader, output: str, name: str, places: NDArray[np.int64]) -> None:
    """Make a tensor whose elements are those of `name` at these places."""
    r.shapes[output] = places.shape
    matrix = selection(places.reshape(-1), prod(r.shape(name)))
    r.steps.append(AffineStep(output, name, matrix))


@reads("Transpose")
def _transpose(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape = r.shape(node.input[0])
    order = list(a.pop("perm", range(len(shape), -1, -1)))
    if order[0] != 0:
        raise UnreadableError("the batch does not stay first")
    _moved(r, node.output[0], node.input[0], _places(shape).transpose([i - 1 for i in order[1:]]))


@reads("Squeeze", "Unsqueeze")
def _squeeze(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape, axes = r.shape(node.input[0]), r.integers(node, a, "axes", 1)
    if axes is None:
        raise UnreadableError("without axes the batch may be lost")
    if node.op_type == "Squeeze":
        gone = {own_axis(axis, shape) for axis in axes}
        r.same(node, tuple(n for i, n in enumerate(shape) if i not in gone))
        return
    rank = len(shape) + len(axes) + 1
    new = {axis % rank for axis in axes}
    if 0 in new or len(new) != len(axes) or any(not -rank <= axis < rank for axis in axes):
        raise UnreadableError("the batch does not stay first")
    sides = iter(shape)
    r.same(node, tuple(1 if i in new else next(sides) for i in range(1, rank)))


@reads("Slice")
def _slice(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape = r.shape(node.input[0])
    starts, ends = r.integers(node, a, "starts", 1), r.integers(node, a, "ends", 2)
    if starts is None or ends is None:
        raise UnreadableError("starts or ends are missing")
    axes = r.integers(node, a, "axes", 3) or list(range(len(starts)))
    steps = r.integers(node, a, "steps", 4) or [1] * len(starts)
    places = _places(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        own = own_axis(axis, shape)
        # Python's -1 as an end of a backward slice is the last element, ONNX's is before the first
        # only where it is that far below zero.
        stop = None if step < 0 and end < -shape[own] else end
        along = np.arange(shape[own])[slice(start, stop, step)]
        places = places.take(along, own)
    if not places.size:
        raise UnreadableError("an empty output is not supported")
    _moved(r, node.output[0], node.input[0], places)


@reads("Gather")
def _gather(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape, chosen = r.shape(node.input[0]), r.constant(node, 1)
    axis = own_axis(a.pop("axis", 0), shape)
    if chosen is None or np.any(chosen < -shape[axis]) or np.any(chosen >= shape[axis]):
        raise UnreadableError("indices are missing or out of range")
    _moved(r, node.output[0], node.input[0], _places(shape).take(chosen.astype(np.int64), axis))


@reads("Split")
def _split(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape, count = r.shape(node.input[0]), len(node.output)
    axis, sizes = own_axis(a.pop("axis", 0), shape), r.integers(node, a, "split", 1)
    a.pop("num_outputs", None)
    each = -(-shape[axis] // count)
    sizes = sizes or [min(each, shape[axis] - i * each) for i in range(count)]
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise UnreadableError("the parts do not fit")
    ends = np.cumsum(sizes)[:-1]
    for output, part in zip(node.output, np.split(_places(shape), ends, axis), strict=True):
        _moved(r, output, node.input[0], part)


@reads("Pad")
def _pad(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape, pads = r.shape(node.input[0]), r.integers(node, a, "pads", 1)
    given, attribute = r.constant(node, 2), a.pop("value", 0.0)
    value = float(attribute if given is None else given.reshape(-1)[0])
    if a.pop("mode", b"constant") != b"constant" or pads is None:
        raise UnreadableError("only padding by a constant is supported")
    rank = len(shape) + 1
    axes = r.integers(node, a, "axes", 3) or list(range(rank))
    around: list[tuple[int, int]] = [(0, 0)] * rank
    if len(pads) != 2 * len(axes):
        raise UnreadableError("pads and axes do not fit")
    for i, axis in enumerate(axes):
        around[axis] = (pads[i], pads[i + len(axes)])
    if around[0] != (0, 0) or min(min(pair) for pair in around) < 0:
        raise UnreadableError("negative pads, or pads of the batch")
    places = np.pad(_places(shape), around[1:], constant_values=-1)
    bias: Any = np.where(places.reshape(-1) < 0, value, 0.0)
    matrix = selection(places.reshape(-1), prod(shape))
    r.add(node, places.shape, input=node.input[0], matrix=matrix, bias=bias)


@reads("Concat")
def _concat(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    """Each part in its place, and the sum of these."""
    shapes = [r.shape(name) for name in node.input]
    axis = own_axis(a.pop("axis"), shapes[0])
    if any(len(shape) != len(shapes[0]) for shape in shapes):
        raise UnreadableError("the parts do not fit")
    long = sum(shape[axis] for shape in shapes)
    whole = tuple(long if i == axis else n for i, n in enumerate(shapes[0]))
    ends = np.cumsum([shape[axis] for shape in shapes])[:-1]
    below = None
    for name, part in zip(node.input, np.split(_places(whole), ends, axis), strict=True):
        if part.shape != r.shape(name):
            raise UnreadableError("the parts do not fit")
        into = selection(part.reshape(-1), prod(whole)).T.tocsr()
        below = r.affine(whole, name, into, plus=below)
    r.same(node, whole, below)
