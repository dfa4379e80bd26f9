"""Sums and means over axes."""

from math import prod

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.activation import magnitude
from graphprune.canonical.rules.arithmetic import negate, scale, summed, total
from graphprune.canonical.rules.linear import along_axis
from graphprune.canonical.rules.products import squared
from graphprune.functions import Exp, Log, Sqrt
from graphprune.ir.network import Activation
from graphprune.ir.source import Layout

# Functions of a sum.
ABOVE_SUM: dict[str, Activation] = {"ReduceL2": Sqrt(), "ReduceLogSum": Log()}


def reduced_axes(context: Context, node: ir.Node, x: Tracked) -> tuple[list[int], Layout]:
    """The file's axes a reduction works along, and the layout of its output."""
    rank = len(x.layout.shape)
    if context.has(node, 1):
        given = [int(a) for a in np.ravel(context.need_constant(node, 1, "axes"))]
    else:
        given = list(node.attributes.get_ints("axes", ()))
    if not given:
        noop = node.attributes.get_int("noop_with_empty_axes", 0)
        given = [] if noop else list(range(rank))
    axes = sorted({context.axis(a, x.layout, node) for a in given})
    batch = x.layout.batch
    if batch in axes and x.layout.shape[batch] == 1:
        axes.remove(batch)  # the sum over a batch of 1 is the sample itself
        dropped = {*axes, batch}
    else:
        dropped = {*axes}
    for axis in axes:
        context.sample_axis(axis, x.layout, node)
    keep = bool(node.attributes.get_int("keepdims", 1))
    shape = tuple(
        1 if i in dropped else n for i, n in enumerate(x.layout.shape) if keep or i not in dropped
    )
    if not keep and batch is not None:
        batch = None if batch in dropped else batch - sum(a < batch for a in axes)
    return axes, Layout(shape, batch)


@legalises("ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum")
def reduce_sum(context: Context, node: ir.Node) -> Tracked:
    """A sum over axes, ReduceL1 of |x|, ReduceSumSquare of x^2, ReduceL2 the root of that,
    ReduceLogSum the logarithm; the mean divides it by the number of cells."""
    x = context.computed(node, 0)
    if node.op_type == "ReduceL1":
        x = magnitude(context, node, x)
    axes, layout = reduced_axes(context, node, x)
    if node.op_type in ("ReduceL2", "ReduceSumSquare"):
        x = squared(context, node, x)
    out = summed(context, node, x, axes)
    if (curve := ABOVE_SUM.get(node.op_type)) is not None:
        out = context.emit(curve, out, layout=out.layout)
    if node.op_type == "ReduceMean":
        count = prod(x.layout.shape[a] for a in axes)
        out = scale(context, node, out, np.array(1.0 / count))
    return context.relayout(out, layout)


@legalises("ReduceLogSumExp")
def reduce_log_sum_exp(context: Context, node: ir.Node) -> Tracked:
    """m + log(sum of exp(x - m)) over axes, with the mean m."""
    x = context.computed(node, 0)
    axes, layout = reduced_axes(context, node, x)
    if not axes:
        return context.relayout(x, layout)
    count = prod(x.layout.shape[a] for a in axes)
    mean = scale(context, node, summed(context, node, x, axes), np.array(1.0 / count))
    y = total(context, node, x, negate(context, node, mean))
    whole = summed(context, node, context.emit(Exp(), y, layout=y.layout), axes)
    log = context.emit(Log(), whole, layout=whole.layout)
    return context.relayout(total(context, node, log, mean), layout)


@legalises("CumSum")
def cumulative_sum(context: Context, node: ir.Node) -> Tracked:
    """Sums of the cells up to each one of an axis: a triangular matrix."""
    x = context.computed(node, 0)
    axis = int(np.ravel(context.need_constant(node, 1, "axis"))[0])
    axis = context.axis(axis, x.layout, node)
    length = x.layout.shape[axis]
    matrix = np.tri(length, k=-node.attributes.get_int("exclusive", 0))
    if node.attributes.get_int("reverse", 0):
        matrix = matrix[::-1, ::-1]
    return along_axis(context, node, x, axis, np.ascontiguousarray(matrix))


@legalises("GlobalAveragePool")
def global_average_pool(context: Context, node: ir.Node) -> Tracked:
    """The sum over a channel's cells, divided by their number."""
    x = context.batch_first(context.computed(node, 0), node)
    spatial = list(range(2, len(x.layout.shape)))
    out = summed(context, node, x, spatial)
    count = prod(x.layout.shape[a] for a in spatial)
    return scale(context, node, out, np.array(1.0 / count))
