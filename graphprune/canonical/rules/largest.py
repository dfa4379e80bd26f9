"""ArgMax and ArgMin between layers, OneHot and Gather that read them, and Hardmax.

Every pair of cells is compared once by a step; a cell that beats all others is the largest. Later
layers read numbers of cells, so each ArgMax keeps which cell it is as ones and zeros.
"""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.memory import NUMBER, VALUE, value_too_large
from graphprune.canonical.rules.arithmetic import negate, plus, scale, shift, total
from graphprune.canonical.rules.comparison import step
from graphprune.canonical.rules.linear import along_axis, times_matrix
from graphprune.canonical.rules.softmax import over_one_axis
from graphprune.ir.source import Layout
from graphprune.operators import Relu


def largest(
    context: Context, node: ir.Node, x: Tracked, axis: int, *, last: bool = False
) -> Tracked:
    """1 at the largest cell along an axis, 0 at all others; of equal ones at the first or last."""
    count = x.layout.shape[axis]
    if count == 1:
        return plus(context, node, scale(context, node, x, np.array(0.0)), np.array(1.0))
    pairs = NUMBER * (count * (count - 1) // 2) * (x.layout.size // count)
    if pairs > VALUE:
        raise context.fail(node, f"compares every pair of {count} cells, {value_too_large(pairs)}")
    first, second = np.triu_indices(count, 1)
    ahead = total(
        context, node, context.gather(x, axis, first, node),
        negate(context, node, context.gather(x, axis, second, node)),
    )  # fmt: skip
    beats = step(context, ahead, at=0.0 if last else 1.0)
    # Comparisons that a cell wins: as the first of a pair, or where the first one does not win.
    place = np.arange(count)[:, None]
    matrix = (place == first).astype(np.float64) - (place == second)
    wins = along_axis(context, node, beats, axis, matrix)
    sample_axis = context.sample_axis(axis, wins.layout, node)
    shape = [-1 if i == sample_axis else 1 for i in range(len(wins.layout.sample))]
    lacking = np.arange(count, dtype=np.float64) - (count - 2)
    wins = shift(context, node, wins, lacking.reshape(shape))
    return wins if count == 2 else context.emit(Relu(auxiliary=True), wins, layout=wins.layout)


@legalises("ArgMax", "ArgMin")
def arg_largest(context: Context, node: ir.Node) -> Tracked:
    """Between layers the sum of k h_k, h 1 at the largest cell (of -x for ArgMin), 0 elsewhere: the
    relu of its won comparisons less n - 2, each a step. OneHot and Gather read h itself."""
    x = context.computed(node, 0)
    axis = context.axis(node.attributes.get_int("axis", 0), x.layout, node)
    context.sample_axis(axis, x.layout, node)
    if node.op_type == "ArgMin":
        x = negate(context, node, x)
    chosen = largest(
        context, node, x, axis, last=bool(node.attributes.get_int("select_last_index", 0))
    )
    numbers = np.arange(x.layout.shape[axis], dtype=np.float64)[None]
    found = along_axis(context, node, chosen, axis, numbers)
    order = tuple(i for i in range(len(x.layout.shape)) if i != axis)
    chosen = context.transpose(chosen, (*order, axis), node)
    shape, batch = list(x.layout.shape), x.layout.batch
    if node.attributes.get_int("keepdims", 1):
        shape[axis] = 1
    else:
        del shape[axis]
        batch = None if batch is None else batch - (batch > axis)
    layout = Layout(tuple(shape), batch)
    wide = Layout((*shape, chosen.layout.shape[-1]), batch)
    return replace(
        context.relayout(found, layout, node), choice=context.relayout(chosen, wide, node)
    )


@legalises("Hardmax")
def hardmax(context: Context, node: ir.Node) -> Tracked:
    """1 at the largest cell along an axis, 0 elsewhere, as ArgMax between layers has it."""
    x, axis = over_one_axis(context, node)
    if x.absent is not None:
        raise context.fail(node, "of cells of -inf: leave them out")
    chosen = largest(context, node, x, axis)
    return context.relayout(chosen, context.value(node, 0).layout, node)


def hot(context: Context, node: ir.Node, index: Tracked) -> Tracked:
    """OneHot of an ArgMax: off + (on - off) h, h 1 at the largest cell below it."""
    if index.choice is None:
        raise context.fail(node, "its indices are computed, and not by an ArgMax right below")
    depth = int(np.ravel(context.need_constant(node, 1, "depth"))[0])
    off, on = (float(n) for n in np.ravel(context.need_constant(node, 2, "values")))
    count = index.choice.layout.shape[-1]
    cells = times_matrix(context, node, index.choice, np.eye(count, depth))
    rank = len(cells.layout.shape)
    axis = node.attributes.get_int("axis", -1) % rank
    order = list(range(rank - 1))
    order.insert(axis, rank - 1)
    cells = context.transpose(cells, tuple(order), node)
    scaled = scale(context, node, cells, np.array(on - off))
    return plus(context, node, scaled, np.array(off)) if off else scaled


def looked_up(context: Context, node: ir.Node, index: Tracked) -> Tracked:
    """Gather of a constant table's rows by an ArgMax: h T, h 1 at the largest cell below it."""
    if index.choice is None:
        raise context.fail(node, "its indices are computed, and not by an ArgMax right below")
    table = context.need_constant(node, 0, "table").astype(np.float64)
    count = index.choice.layout.shape[-1]
    axis = node.attributes.get_int("axis", 0)
    if axis != 0 or table.ndim > 2 or len(table) < count:
        raise context.fail(node, f"of a table {table.shape} only rows are looked up, of {count}")
    rows = table.reshape(len(table), -1)[:count]
    found = times_matrix(context, node, index.choice, rows)
    if table.ndim == 2:
        return found
    return context.relayout(found, Layout(found.layout.shape[:-1], found.layout.batch), node)
