"""Activations as ReLUs and affine maps, and the softmax at the end.

The neurons of a file are the elements of the ReLUs made here and in ``maximum.py``, in the order in
which they are made: a file's nodes one after the other, within a node as its rule says.
"""

from math import prod

import numpy as np
import onnx

from graphprune.check.reader import (
    Attributes,
    ModelReader,
    UnreadableError,
    diagonal,
    negative,
    own_axis,
    reads,
    spread,
)
from graphprune.check.rules.linear import sums
from graphprune.check.steps import Floats, ReluStep

# Exporters write "no end" as the largest float32.
LARGEST = float(np.finfo(np.float32).max)


@reads("Relu")
def _relu(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape = r.shape(node.input[0])
    r.shapes[node.output[0]] = shape
    r.steps.append(ReluStep(node.output[0], node.input[0]))
    r.relus.append(prod(shape))


def _leaky(r: ModelReader, node: onnx.NodeProto, slope: Floats) -> None:
    """a x + (1 - a) relu(x)."""
    x = node.input[0]
    shape = r.shape(x)
    positive = r.relu(x)
    part = r.affine(shape, positive, diagonal(1.0 - slope))
    r.add(node, shape, input=x, matrix=diagonal(slope), input2=part)


@reads("LeakyRelu")
def _leaky_relu(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    # Files hold the slope in float32, the standard's default too.
    slope = a.pop("alpha", float(np.float32(0.01)))
    _leaky(r, node, np.full(prod(r.shape(node.input[0])), slope))


@reads("PRelu")
def _prelu(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    _leaky(r, node, spread(r.weight(node, 1), r.shape(node.input[0])))


@reads("Abs")
def _abs(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    _leaky(r, node, np.full(prod(r.shape(node.input[0])), -1.0))


@reads("ReduceL1")
def _absolute_sum(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    """Sums of |x| = 2 relu(x) - x."""
    x, keep = node.input[0], bool(a.pop("keepdims", 1))
    shape = r.shape(x)
    twice = r.affine(shape, r.relu(x), diagonal(np.full(prod(shape), 2.0)))
    size = r.affine(shape, x, negative(shape), plus=twice)
    sums(r, node, size, r.axes(node, a), mean=False, keep=keep)


@reads("ThresholdedRelu")
def _thresholded(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    if a.pop("alpha", 1.0) != 0.0:
        raise UnreadableError("jumps at its threshold, unless that is 0")
    _relu(r, node, a)


@reads("Shrink")
def _shrink(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    """relu(x - l) - relu(-x - l)."""
    limit = a.pop("lambd", 0.5)
    if a.pop("bias", 0.0) != limit or limit < 0.0:
        raise UnreadableError("jumps, unless its bias is its limit")
    x, shape = node.input[0], r.shape(node.input[0])
    less = np.full(prod(shape), -limit)
    above = r.relu(r.affine(shape, x, bias=less))
    below = r.relu(r.affine(shape, x, negative(shape), less))
    r.add(node, shape, input=below, matrix=negative(shape), input2=above)


def _clipped(r: ModelReader, x: str, low: float, high: float) -> str:
    """max(x, l) = l + relu(x - l), then min(y, h) = h - relu(h - y); infinite ends left out."""
    shape = r.shape(x)
    size = prod(shape)
    if low > -np.inf:
        above = r.relu(r.affine(shape, x, bias=np.full(size, -low)))
        x = r.affine(shape, above, bias=np.full(size, low))
    if high < np.inf:
        room = r.relu(r.affine(shape, x, negative(shape), np.full(size, high)))
        x = r.affine(shape, room, negative(shape), np.full(size, high))
    return x


@reads("Clip")
def _clip(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    ends = []
    for index, name, sign in ((1, "min", -1.0), (2, "max", 1.0)):
        given = r.constant(node, index)
        attribute = a.pop(name, sign * np.inf)
        end = float(attribute if given is None else given.reshape(-1)[0])
        ends.append(sign * np.inf if sign * end >= LARGEST else end)
    if ends[0] > ends[1]:
        raise UnreadableError("min exceeds max")
    shape = r.shape(node.input[0])
    r.same(node, shape, _clipped(r, node.input[0], *ends))


@reads("HardSigmoid")
def _hard_sigmoid(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape = r.shape(node.input[0])
    alpha, beta = a.pop("alpha", float(np.float32(0.2))), a.pop("beta", 0.5)
    size = prod(shape)
    line = r.affine(shape, node.input[0], diagonal(np.full(size, alpha)), np.full(size, beta))
    r.same(node, shape, _clipped(r, line, 0.0, 1.0))


@reads("Softmax", "LogSoftmax")
def _softmax(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    """Leave out what keeps the order of the classes, where nothing comes after it."""
    shape = r.shape(node.input[0])
    axis = own_axis(a.pop("axis", -1), shape)
    if len(shape) != 1 or axis != 0 or node.output[0] != r.graph.output[0].name:
        raise UnreadableError("only over the classes, as the last node")
    r.same(node, shape)
