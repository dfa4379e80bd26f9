"""Softmax and LogSoftmax below other layers.

The softmax is p_i = sigmoid(x_i - log(sum over j != i of exp(x_j))), and the logarithm of a sum of
two exponentials is b + softplus(a - b), of more that of the halves' logarithms: up a tree for
the sums over 2, 4, ... cells, down again for those over all others. Softplus is convex and bends
by 1/4 at most, a sigmoid hardly where it is near 0 or 1: their lines are never far off, however
wide the range of the scores, where those of exponentials are exponentially far; and tangents make
a tangent of the whole sum.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import negate, scale, shift, total
from graphprune.functions import Sigmoid, Softplus
from graphprune.ir.source import Layout

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@legalises("Softmax")
def softmax(context: Context, node: ir.Node) -> Tracked:
    """Below other layers sigmoid(x_i - log(sum of exp(x_j))) over the others j, the logarithm as
    b + softplus(a - b) of two halves; a cell of -inf is no class."""
    x, axis = over_one_axis(context, node)
    return context.relayout(softmax_along(context, node, x, axis), _layout(context, node))


@legalises("LogSoftmax")
def log_softmax(context: Context, node: ir.Node) -> Tracked:
    """Below other layers x - log(sum of exp(x)), the logarithm as b + softplus(a - b) of halves."""
    x, axis = over_one_axis(context, node)
    if x.absent is not None:
        raise context.fail(node, "the logarithm of a cell of -inf is not finite")
    return context.relayout(logarithm(context, node, x, axis), _layout(context, node))


def softmax_along(context: Context, node: ir.Node, x: Tracked, axis: int) -> Tracked:
    """The softmax along an axis of the file's tensor."""
    present = _present(context, node, x, axis)
    x = Tracked(x.value, x.layout)
    others, some = _others(context, node, x, axis, present)
    if not some.any():
        return shift(context, node, scale(context, node, x, np.array(0.0)), present)
    ahead = less(context, node, x, others)
    share = context.emit(Sigmoid(), ahead, layout=ahead.layout)
    if np.all(some * present):
        return share
    # A class without others has all of it.
    share = scale(context, node, share, some * present)
    return shift(context, node, share, (1.0 - some) * present)


def logarithm(context: Context, node: ir.Node, x: Tracked, axis: int) -> Tracked:
    """The logarithm of the softmax."""
    cells = np.ones(x.layout.sample)
    return less(context, node, x, _levels(context, node, x, axis, cells)[-1][0])


def less(context: Context, node: ir.Node, x: Tracked, y: Tracked) -> Tracked:
    """x - y."""
    return total(context, node, x, negate(context, node, y))


def _present(context: Context, node: ir.Node, x: Tracked, axis: int) -> Floats:
    """1 where a cell is a class, 0 where it is -inf."""
    if x.absent is None:
        return np.ones(x.layout.sample)
    present = 1.0 - x.absent.astype(np.float64)
    if np.any(present.sum(axis=context.sample_axis(axis, x.layout, node)) == 0):
        raise context.fail(node, "has no class: all cells are -inf")
    return present


# Values along an axis, and 1 where they are the logarithm of a sum, 0 where that has no terms.
Sums = tuple[Tracked, Floats]


def _levels(context: Context, node: ir.Node, x: Tracked, axis: int, present: Floats) -> list[Sums]:
    """log(sum of exp(x)) over one cell, two, four, ... along an axis of the file's tensor."""
    place = context.sample_axis(axis, x.layout, node)
    found = [(x, present)]
    while (count := found[-1][1].shape[place]) > 1:
        pairs = np.arange(0, count, 2)
        one = _cells(context, node, found[-1], axis, pairs)
        found.append(_joined(context, node, one, _cells(context, node, found[-1], axis, pairs + 1)))
    return found


def _others(context: Context, node: ir.Node, x: Tracked, axis: int, present: Floats) -> Sums:
    """log(sum of exp(x_j)) over all other cells, for every cell along an axis."""
    place = context.sample_axis(axis, x.layout, node)
    *below, top = _levels(context, node, x, axis, present)
    found = top[0], np.zeros_like(top[1])
    for level in reversed(below):
        index = np.arange(level[1].shape[place])
        outside = _cells(context, node, found, axis, index // 2)
        found = _joined(context, node, outside, _cells(context, node, level, axis, index ^ 1))
    return found


def _cells(context: Context, node: ir.Node, sums: Sums, axis: int, index: Ints) -> Sums:
    """Some cells along an axis; one beyond its end has no terms."""
    place = context.sample_axis(axis, sums[0].layout, node)
    count = sums[1].shape[place]
    inside = np.minimum(index, count - 1)
    where = (index < count).reshape(-1, *(1,) * (sums[1].ndim - 1 - place))
    return context.gather(sums[0], axis, inside, node), sums[1].take(inside, axis=place) * where


def _joined(context: Context, node: ir.Node, one: Sums, other: Sums) -> Sums:
    """log(exp(a) + exp(b)) = b + softplus(a - b), where a or b may have no terms."""
    (a, in_a), (b, in_b) = one, other
    if not in_a.any() or not in_b.any():
        return other if in_b.any() else one
    gap = less(context, node, a, b)
    more = context.emit(Softplus(), gap, layout=gap.layout)
    if np.all(in_a * in_b):
        return total(context, node, b, more), in_b
    parts = ((b, in_b), (a, in_a * (1.0 - in_b)), (more, in_a * in_b))
    joined = total(context, node, *(scale(context, node, part, on) for part, on in parts))
    return joined, np.maximum(in_a, in_b)


def over_one_axis(context: Context, node: ir.Node) -> tuple[Tracked, int]:
    """The input, the axes that the classes stand along made one as old opsets say, and that one."""
    x = context.value(node, 0)
    shape, old = x.layout.shape, context.opset < 13
    axis = context.axis(node.attributes.get_int("axis", 1 if old else -1), x.layout, node)
    batch = x.layout.batch
    if not old or axis == len(shape) - 1:
        context.sample_axis(axis, x.layout, node)
        return x, axis
    # Before opset 13 all axes from this one on are one.
    if batch is not None and batch >= axis:
        raise context.fail(node, f"works along the batch axis ({batch})")
    merged = Layout((*shape[:axis], int(np.prod(shape[axis:]))), batch)
    flat = context.relayout(x, merged)
    absent = None if x.absent is None else x.absent.reshape(merged.sample)
    return Tracked(flat.value, merged, absent=absent), axis


def _layout(context: Context, node: ir.Node) -> Layout:
    return context.value(node, 0).layout
