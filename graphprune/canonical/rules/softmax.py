"""Softmax and LogSoftmax below other layers.

The softmax is exp(x - log(sum of exp(x))), a number from 0 to 1, and the logarithm of a sum of two
exponentials is b + softplus(a - b), of more that of the halves' logarithms. Softplus is convex and
bends by 1/4 at most: its lines are never far off, however wide the range of the scores, where
those of exponentials are exponentially far; and its tangents make one of the whole sum.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import negate, scale, total
from graphprune.functions import Share, Sigmoid, Softplus
from graphprune.ir.source import Layout

Floats = NDArray[np.float64]


@legalises("Softmax")
def softmax(context: Context, node: ir.Node) -> Tracked:
    """Below other layers exp(x - log(sum of exp(x))), the logarithm as b + softplus(a - b) of two
    halves; of two classes a sigmoid; a cell of -inf is no class."""
    x, axis = _over_one_axis(context, node)
    return context.relayout(softmax_along(context, node, x, axis), _layout(context, node))


@legalises("LogSoftmax")
def log_softmax(context: Context, node: ir.Node) -> Tracked:
    """Below other layers x - log(sum of exp(x)), the logarithm as b + softplus(a - b) of halves."""
    x, axis = _over_one_axis(context, node)
    if x.absent is not None:
        raise context.fail(node, "the logarithm of a cell of -inf is not finite")
    return context.relayout(logarithm(context, node, x, axis)[0], _layout(context, node))


def softmax_along(context: Context, node: ir.Node, x: Tracked, axis: int) -> Tracked:
    """The softmax along an axis of the file's tensor."""
    if x.absent is None and x.layout.shape[axis] == 2:
        return _of_two(context, node, x, axis)
    logs, present = logarithm(context, node, x, axis)
    out = context.emit(Share(), logs, layout=logs.layout)
    return out if present is None else scale(context, node, out, present)


def logarithm(
    context: Context, node: ir.Node, x: Tracked, axis: int
) -> tuple[Tracked, Floats | None]:
    """The logarithm of the softmax, and 1 where a cell is a class, 0 where it is -inf.

    Cells that are no class have the logarithm 0.
    """
    if x.absent is None:
        return less(context, node, x, _whole(context, node, x, axis, None)), None
    place = context.sample_axis(axis, x.layout, node)
    present = 1.0 - x.absent.astype(np.float64)
    if np.any(present.sum(axis=place) == 0):
        raise context.fail(node, "has no class: all cells are -inf")
    x = Tracked(x.value, x.layout)
    ahead = less(context, node, x, _whole(context, node, x, axis, present))
    return scale(context, node, ahead, present), present


def less(context: Context, node: ir.Node, x: Tracked, y: Tracked) -> Tracked:
    """x - y."""
    return total(context, node, x, negate(context, node, y))


def _whole(
    context: Context, node: ir.Node, x: Tracked, axis: int, present: Floats | None
) -> Tracked:
    """log(sum of exp(x)) over the `present` cells along an axis of the file's tensor.

    Of two terms it is b + softplus(a - b), of more that of the halves' logarithms.
    """
    place = context.sample_axis(axis, x.layout, node)
    cells = np.ones(x.layout.sample) if present is None else present
    while (count := cells.shape[place]) > 1:
        first, second = np.arange(0, count, 2), np.minimum(np.arange(1, count + 1, 2), count - 1)
        a, b = (context.gather(x, axis, index, node) for index in (first, second))
        in_a, in_b = (cells.take(index, axis=place) for index in (first, second))
        if count % 2:  # the last one stays alone
            in_b[(slice(None),) * place + (-1,)] = 0.0
        gap = less(context, node, a, b)
        more = context.emit(Softplus(), gap, layout=gap.layout)
        # One that is alone is the logarithm itself.
        if np.all(in_a * in_b):
            x = total(context, node, b, more)
        else:
            parts = ((b, in_b), (a, in_a * (1.0 - in_b)), (more, in_a * in_b))
            x = total(context, node, *(scale(context, node, part, on) for part, on in parts))
        cells = np.maximum(in_a, in_b)
    return x


def _of_two(context: Context, node: ir.Node, x: Tracked, axis: int) -> Tracked:
    """sigmoid(x_i - x_j)."""
    other = context.gather(x, axis, np.array([1, 0]), node)
    ahead = less(context, node, x, other)
    return context.emit(Sigmoid(), ahead, layout=ahead.layout)


def _over_one_axis(context: Context, node: ir.Node) -> tuple[Tracked, int]:
    """The input, its axes that the classes stand along made one, and that axis."""
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
