"""Max, Min, TopK, MaxPool and their global forms: trees of max(a, b) = b + relu(a - b).

A pool is separable, so each axis gets a tree of its own. A tree works on *windows*, the tuples of
cells that one output covers: a window is split into two shorter ones, windows that several
outputs share are computed once, and all windows of one level are one batched ReLU. Cells in the
padding are simply not in the window.
"""

from functools import reduce
from math import prod

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Array, Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import negate, operands, plus, times, total
from graphprune.canonical.rules.reduce import reduced_axes
from graphprune.canonical.rules.window import window
from graphprune.ir.source import Layout
from graphprune.operators import Add, Concat, Relu

Window = tuple[int, ...]


def larger(context: Context, node: ir.Node, a: Tracked, b: Tracked) -> Tracked:
    """max(a, b) = b + relu(a - b)."""
    a, b = context.align(node, a, b)
    minus = negate(context, node, b)
    difference = context.emit(Add(), a, minus, layout=a.layout)
    positive = context.emit(Relu(auxiliary=True), difference, layout=a.layout)
    return context.emit(Add(), positive, b, layout=a.layout, node=node)


def _depth(cells: Window) -> int:
    return (len(cells) - 1).bit_length()


def _halves(cells: Window) -> tuple[Window, Window]:
    half = 1 << (_depth(cells) - 1)
    return cells[:half], cells[half:]


def _levels(windows: list[Window]) -> list[list[Window]]:
    """Every window needed, by depth; the last level is the deepest."""
    levels: list[dict[Window, None]] = [{} for _ in range(max(map(_depth, windows)) + 1)]
    for cells in windows:
        levels[_depth(cells)][cells] = None
    for level in reversed(levels[1:]):
        for cells in level:
            for half in _halves(cells):
                levels[_depth(half)][half] = None
    return [list(level) for level in levels]


def maxima(
    context: Context, node: ir.Node, x: Tracked, axis: int, windows: list[Window]
) -> Tracked:
    """The maximum over each window of cells along a file's axis."""
    levels = _levels(windows)
    known: dict[Window, int] = {(i,): i for i in range(x.layout.shape[axis])}
    for depth, level in enumerate(levels[1:], start=1):
        left, right = (
            context.gather(x, axis, np.array([known[_halves(w)[side]] for w in level]), node)
            for side in (0, 1)
        )
        highest = larger(context, node, left, right)
        later = {half for upper in levels[depth + 1 :] for w in upper for half in _halves(w)}
        carried = [w for w in known if w in later or w in windows]
        if carried:
            kept = context.gather(x, axis, np.array([known[w] for w in carried]), node)
            highest = _joined(context, axis, kept, highest, node)
        x, known = highest, {w: i for i, w in enumerate([*carried, *level])}
    return context.gather(x, axis, np.array([known[w] for w in windows]), node)


def _joined(context: Context, axis: int, a: Tracked, b: Tracked, node: ir.Node) -> Tracked:
    shape = list(a.layout.shape)
    shape[axis] += b.layout.shape[axis]
    op = Concat(context.sample_axis(axis, a.layout, node), (a.layout.sample, b.layout.sample))
    return context.emit(op, a, b, layout=Layout(tuple(shape), a.layout.batch))


@legalises("MaxPool")
def max_pool(context: Context, node: ir.Node) -> Tracked:
    """Per axis a tree of b + relu(a - b) over the cells inside the input (any kernel, stride,
    padding, dilation, ceil_mode)."""
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise context.fail(node, "its indices are used; only the maxima are supported")
    x = context.batch_first(given := context.value(node, 0), node)
    w = window(context, node, x.layout.sample[1:], tuple(node.attributes.get_ints("kernel_shape")))
    padded = _padded(context, node, given, x.layout.sample)
    for i, side in reversed(list(enumerate(x.layout.sample[1:]))):
        inside = set(range(side)) - padded[i]
        windows = [tuple(c for c in cells if c in inside) for cells in w.cells(i)]
        if not all(windows):
            raise context.fail(node, "a window lies in the padding alone")
        x = maxima(context, node, x, 2 + i, windows)
    return x


def _padded(context: Context, node: ir.Node, x: Tracked, sample: tuple[int, ...]) -> list[set[int]]:
    """Cells along each axis of an image that are padding by -inf."""
    if x.absent is None:
        return [set() for _ in sample[1:]]
    absent = x.absent.reshape(sample)
    left, found = np.zeros(sample, bool), []
    for axis in range(1, len(sample)):
        others = tuple(other for other in range(len(sample)) if other != axis)
        cells = np.flatnonzero(absent.all(axis=others))
        np.moveaxis(left, axis, 0)[cells] = True
        found.append(set(cells.tolist()))
    if not np.array_equal(left, absent):
        raise context.fail(node, "reads padding by -inf across its channels")
    return found


@legalises("GlobalMaxPool")
def global_max_pool(context: Context, node: ir.Node) -> Tracked:
    """A tree of b + relu(a - b) over all cells of a channel."""
    x = context.batch_first(context.computed(node, 0), node)
    batch, channels, *spatial = x.layout.shape
    flat = context.relayout(x, Layout((batch, channels, prod(spatial)), 0))
    top = maxima(context, node, flat, 2, [tuple(range(prod(spatial)))])
    return context.relayout(top, Layout((batch, channels, *(1 for _ in spatial)), 0))


@legalises("Max")
def maximum(context: Context, node: ir.Node) -> Tracked:
    """max(x, c) = relu(x - c) + c; max(x, y) = y + relu(x - y)."""
    return _extreme(context, node, flip=False)


@legalises("Min")
def minimum(context: Context, node: ir.Node) -> Tracked:
    """min = -max of the negated inputs."""
    return _extreme(context, node, flip=True)


def _extreme(context: Context, node: ir.Node, *, flip: bool) -> Tracked:
    computed, constants = operands(context, node)
    if flip:
        computed = [negate(context, node, x) for x in computed]
        constants = [-c for c in constants]
    top = reduce(lambda x, y: larger(context, node, x, y), computed)
    if constants:
        top = _at_least(context, node, top, reduce(np.maximum, constants))
    return negate(context, node, top) if flip else top


def _at_least(context: Context, node: ir.Node, x: Tracked, constant: Array) -> Tracked:
    """max(x, c) = relu(x - c) + c; where c is -inf it is x."""
    none = np.asarray(constant == -np.inf)
    if none.all():
        return context.enlarged(x, constant, node)
    finite = np.where(none, 0.0, constant)
    below = plus(context, node, x, -finite)
    positive = context.emit(Relu(), below, layout=below.layout)
    if not none.any():
        return plus(context, node, positive, constant)
    kept = times(context, node, x, none.astype(np.float64))
    raised = plus(context, node, times(context, node, positive, 1.0 - none), finite)
    return total(context, node, kept, raised)


@legalises("ReduceMax", "ReduceMin")
def reduce_extreme(context: Context, node: ir.Node) -> Tracked:
    """A tree of b + relu(a - b) along each axis; the minimum is -max(-x)."""
    x = context.computed(node, 0)
    axes, layout = reduced_axes(context, node, x)
    flip = node.op_type == "ReduceMin"
    top = negate(context, node, x) if flip else x
    for axis in axes:
        top = maxima(context, node, top, axis, [tuple(range(top.layout.shape[axis]))])
    top = negate(context, node, top) if flip else top
    return context.relayout(top, layout)


@legalises("TopK")
def top_k(context: Context, node: ir.Node) -> Tracked:
    """K rounds of a knock-out along an axis, max(a, b) = b + d and min(a, b) = a - d with
    d = relu(a - b); losers play the next round. The smallest are -max(-x)."""
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise context.fail(node, "its indices are used; only the values are supported")
    x = context.computed(node, 0)
    if context.has(node, 1):
        count = int(context.need_constant(node, 1, "K").reshape(-1)[0])
    else:
        count = node.attributes.get_int("k")
    axis = context.axis(node.attributes.get_int("axis", -1), x.layout, node)
    if axis == x.layout.batch:
        raise context.fail(node, "selects from the batch axis")
    if not 1 <= count <= x.layout.shape[axis]:
        raise context.fail(node, f"K={count} of {x.layout.shape[axis]} cells")
    flip = node.attributes.get_int("largest", 1) == 0
    left = negate(context, node, x) if flip else x
    tops = []
    for i in range(count):
        top, losers = _knock_out(context, node, left, axis, last=i == count - 1)
        tops.append(top)
        left = top if losers is None else losers
    found = reduce(lambda a, b: _joined(context, axis, a, b, node), tops)
    return negate(context, node, found) if flip else found


def _knock_out(
    context: Context, node: ir.Node, x: Tracked, axis: int, *, last: bool
) -> tuple[Tracked, Tracked | None]:
    """The largest cell along an axis and all others; these are left out in the `last` round."""
    losers: Tracked | None = None
    while (length := x.layout.shape[axis]) > 1:
        half = length // 2
        odd = context.gather(x, axis, np.array([length - 1]), node) if length % 2 else None
        a, b = (context.gather(x, axis, start + np.arange(half), node) for start in (0, half))
        difference = context.emit(Add(), a, negate(context, node, b), layout=a.layout)
        ahead = context.emit(Relu(auxiliary=True), difference, layout=a.layout)
        x = context.emit(Add(), ahead, b, layout=a.layout)
        x = x if odd is None else _joined(context, axis, x, odd, node)
        if not last:
            low = context.emit(Add(), a, negate(context, node, ahead), layout=a.layout)
            losers = low if losers is None else _joined(context, axis, losers, low, node)
    return x, losers
