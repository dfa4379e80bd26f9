"""Softmax and LogSoftmax below other layers.

Few classes have p_i = 1 / (1 + sum over j != i of exp(x_j - x_i)), whose bounds know that scores
rise together; more have exp(y_i - log(sum exp(y))), y = x - mean(x), a function per class only.
"""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import negate, plus, scale, shift, summed, total
from graphprune.functions import Exp, Log, Reciprocal, Sigmoid
from graphprune.ir.source import Layout

# Classes up to which every pair of them has a function.
FEW = 8


@legalises("Softmax")
def softmax(context: Context, node: ir.Node) -> Tracked:
    """Below other layers 1 / (1 + sum of exp(x_j - x_i)) of at most 8 classes, of more
    exp(y - log(sum of exp(y))) with y = x - mean(x); a cell of -inf is no class."""
    x, axis = _over_one_axis(context, node)
    return context.relayout(softmax_along(context, node, x, axis), _layout(context, node))


@legalises("LogSoftmax")
def log_softmax(context: Context, node: ir.Node) -> Tracked:
    """Below other layers y - log(sum of exp(y)) with y = x - mean(x)."""
    x, axis = _over_one_axis(context, node)
    if x.absent is not None:
        raise context.fail(node, "the logarithm of a cell of -inf is not finite")
    return context.relayout(logarithm(context, node, x, axis)[0], _layout(context, node))


def softmax_along(context: Context, node: ir.Node, x: Tracked, axis: int) -> Tracked:
    """The softmax along an axis of the file's tensor."""
    if x.absent is None and x.layout.shape[axis] <= FEW:
        return _by_pairs(context, node, x, axis)
    logs, present = logarithm(context, node, x, axis)
    out = context.emit(Exp(), logs, layout=logs.layout)
    return out if present is None else scale(context, node, out, present)


def logarithm(
    context: Context, node: ir.Node, x: Tracked, axis: int
) -> tuple[Tracked, np.ndarray | None]:
    """The logarithm of the softmax, and 1 where a cell is a class, 0 where it is -inf."""
    present, count = None, np.array(float(x.layout.shape[axis]))
    masked = x = Tracked(x.value, x.layout) if x.absent is None else x
    if x.absent is not None:
        place = context.sample_axis(axis, x.layout, node)
        present = 1.0 - x.absent.astype(np.float64)
        count = present.sum(axis=place, keepdims=True)
        if np.any(count == 0):
            raise context.fail(node, "has no class: all cells are -inf")
        x = Tracked(x.value, x.layout)
        masked = scale(context, node, x, present)
    mean = scale(context, node, summed(context, node, masked, [axis]), 1.0 / count)
    y = total(context, node, x, negate(context, node, mean))
    e = context.emit(Exp(), y, layout=y.layout)
    if present is not None:
        e = scale(context, node, e, present)
    whole = summed(context, node, e, [axis])
    log = context.emit(Log(), whole, layout=whole.layout)
    return total(context, node, y, negate(context, node, log)), present


def _by_pairs(context: Context, node: ir.Node, x: Tracked, axis: int) -> Tracked:
    """1 / (1 + sum of exp(x_j - x_i))."""
    count, shape = x.layout.shape[axis], x.layout.shape
    if count == 1:
        return plus(context, node, scale(context, node, x, np.array(0.0)), np.array(1.0))
    own = np.repeat(np.arange(count), count - 1)
    other = np.concatenate([np.delete(np.arange(count), i) for i in range(count)])
    mine, others = (context.gather(x, axis, index, node) for index in (own, other))
    if count == 2:
        ahead = total(context, node, mine, negate(context, node, others))
        return context.emit(Sigmoid(), ahead, layout=ahead.layout)
    behind = total(context, node, others, negate(context, node, mine))
    e = context.emit(Exp(), behind, layout=behind.layout)
    batch = x.layout.batch
    split = Layout(
        (*shape[:axis], count, count - 1, *shape[axis + 1 :]),
        None if batch is None else batch + (batch > axis),
    )
    whole = summed(context, node, context.relayout(e, split), [axis + 1])
    whole = shift(context, node, context.relayout(whole, x.layout), np.array(1.0))
    return context.emit(Reciprocal(), whole, layout=x.layout)


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
