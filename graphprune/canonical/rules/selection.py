"""Slice, Gather, Split, Concat, Expand, Tile, Pad, DepthToSpace: cells moved or repeated."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Array, Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import shift
from graphprune.canonical.rules.largest import looked_up
from graphprune.ir.source import Layout
from graphprune.operators import Concat, Pad, Scale


def _ints(context: Context, node: ir.Node, index: int, name: str) -> list[int] | None:
    """A list of numbers: an attribute in old opsets, a constant input in new ones."""
    if context.has(node, index):
        return [int(n) for n in np.ravel(context.need_constant(node, index, name))]
    found = node.attributes.get_ints(name, None)
    return None if found is None else list(found)


@legalises("Slice")
def slice_(context: Context, node: ir.Node) -> Tracked:
    """The chosen cells of each axis, any step."""
    x = context.computed(node, 0)
    starts, ends = _ints(context, node, 1, "starts"), _ints(context, node, 2, "ends")
    if starts is None or ends is None:
        raise context.fail(node, "has no starts or ends")
    axes = _ints(context, node, 3, "axes") or list(range(len(starts)))
    steps = _ints(context, node, 4, "steps") or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis = context.axis(axis, x.layout, node)
        chosen = np.arange(x.layout.shape[axis])[slice(start, end, step)]
        x = context.gather(x, axis, chosen, node, output=0)
    return x


@legalises("Gather")
def gather(context: Context, node: ir.Node) -> Tracked:
    """The cells of constant indices along one axis; rows of a constant table by an ArgMax."""
    if context.constant(node, 0) is not None and context.constant(node, 1) is None:
        return looked_up(context, node, context.computed(node, 1))
    x = context.computed(node, 0)
    index = context.need_constant(node, 1, "indices").astype(np.int64)
    axis = context.axis(node.attributes.get_int("axis", 0), x.layout, node)
    shape, batch, length = x.layout.shape, x.layout.batch, x.layout.shape[axis]
    index = np.where(index < 0, index + length, index)
    out = (*shape[:axis], *index.shape, *shape[axis + 1 :])
    if axis == batch:
        if length != 1 or index.size != 1 or index.ndim > 1:
            raise context.fail(node, "selects from the batch axis")
        return context.relayout(x, Layout(out, None if index.ndim == 0 else batch))
    if batch is not None and batch > axis:
        batch += index.ndim - 1
    chosen = context.gather(x, axis, index, node, output=0)
    return context.relayout(chosen, Layout(out, batch))


@legalises("Split")
def split(context: Context, node: ir.Node) -> tuple[Tracked, ...]:
    """One selection of consecutive cells per output."""
    x = context.computed(node, 0)
    axis = context.axis(node.attributes.get_int("axis", 0), x.layout, node)
    length, count = x.layout.shape[axis], len(node.outputs)
    sizes = _ints(context, node, 1, "split")
    if sizes is None:
        part = -(-length // count)
        sizes = [min(part, length - i * part) for i in range(count)]
    if sum(sizes) != length or len(sizes) != count:
        raise context.fail(node, f"splits an axis of length {length} into {sizes}")
    cuts = np.cumsum([0, *sizes])
    # Pieces of nothing are constants, known before.
    return tuple(
        context.gather(x, axis, np.arange(cuts[i], cuts[i + 1]), node, output=i) if sizes[i] else x
        for i in range(count)
    )


@legalises("Concat")
def concat(context: Context, node: ir.Node) -> Tracked:
    """Values side by side; constant parts are padding with an offset."""
    constants = [context.constant(node, i) for i in range(len(node.inputs))]
    parts = [context.computed(node, i) for i, c in enumerate(constants) if c is None]
    axis = context.axis(node.attributes.get_int("axis", 0), parts[0].layout, node)
    batch = next((p.layout.batch for p in parts if p.layout.batch is not None), None)
    parts = [_with_batch(context, node, p, batch) for p in parts]
    context.sample_axis(axis, parts[0].layout, node)
    runs: list[Tracked] = []
    computed = iter(parts)
    for array in constants:
        if array is None:
            runs.append(next(computed))
        elif array.size:
            runs.append(_constant_part(context, node, array, axis, parts[0]))
    if len(runs) == 1:
        return runs[0]
    shape = list(runs[0].layout.shape)
    shape[axis] = sum(r.layout.shape[axis] for r in runs)
    sample_axis = context.sample_axis(axis, parts[0].layout, node)
    op = Concat(sample_axis, tuple(r.layout.sample for r in runs))
    return context.emit(op, *runs, layout=Layout(tuple(shape), batch), node=node)


def _with_batch(context: Context, node: ir.Node, x: Tracked, batch: int | None) -> Tracked:
    if x.layout.batch == batch:
        return x
    if x.layout.batch is None and batch is not None and x.layout.shape[batch] == 1:
        return context.relayout(x, Layout(x.layout.shape, batch))
    raise context.fail(node, "joins values with their batch in different axes")


def _constant_part(
    context: Context, node: ir.Node, array: Array, axis: int, like: Tracked
) -> Tracked:
    """A constant as the affine map 0 x + c of a computed value."""
    cell = context.gather(like, axis, np.zeros(array.shape[axis], np.int64), node)
    nothing = Scale(np.array(0.0), cell.layout.sample)
    zero = context.emit(nothing, cell, layout=cell.layout)
    return shift(context, node, zero, context.to_sample(array, cell.layout, node))


@legalises("Expand")
def expand(context: Context, node: ir.Node) -> Tracked:
    """Axes of size 1 repeated."""
    x = context.computed(node, 0)
    target = context.need_constant(node, 1, "target shape").astype(np.int64)
    return context.enlarged(x, np.broadcast_to(np.zeros(()), tuple(target)), node)


@legalises("Tile")
def tile(context: Context, node: ir.Node) -> Tracked:
    """Every axis repeated as a whole."""
    x = context.computed(node, 0)
    repeats = np.ravel(context.need_constant(node, 1, "repeats"))
    for axis, count in enumerate(int(r) for r in repeats):
        if count != 1:
            cells = np.tile(np.arange(x.layout.shape[axis]), count)
            x = context.gather(x, axis, cells, node, output=0)
    return x


@legalises("Pad")
def pad(context: Context, node: ir.Node) -> Tracked:
    """constant: zero padding and an offset; reflect, edge, wrap: repeated cells; negative pads
    crop."""
    x = context.computed(node, 0)
    rank = len(x.layout.shape)
    pads = _ints(context, node, 1, "pads")
    if pads is None:
        raise context.fail(node, "has no pads")
    axes = list(range(rank))
    if context.has(node, 3):
        given = np.ravel(context.need_constant(node, 3, "axes"))
        axes = [context.axis(int(a), x.layout, node) for a in given]
    begin, end = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        begin[axis], end[axis] = pads[i], pads[len(axes) + i]
    mode = node.attributes.get_string("mode", "constant")
    for axis in range(rank):
        x = _crop_or_repeat(context, node, x, axis, begin[axis], end[axis], mode)
    if mode != "constant" or max(*begin, *end) <= 0:
        return x
    value = float(node.attributes.get_float("value", 0.0))
    if context.has(node, 2):
        value = float(np.ravel(context.need_constant(node, 2, "value"))[0])
    begin, end = [max(n, 0) for n in begin], [max(n, 0) for n in end]
    return _zero_pad(context, node, x, begin, end, value)


def _crop_or_repeat(
    context: Context, node: ir.Node, x: Tracked, axis: int, begin: int, end: int, mode: str
) -> Tracked:
    """The part of a padding that selects cells: all of it, or in constant mode the crop."""
    length = x.layout.shape[axis]
    kept = np.arange(max(-begin, 0), length - max(-end, 0))
    if mode == "constant":
        return context.gather(x, axis, kept, node)
    modes = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in modes:
        raise context.fail(node, f"mode '{mode}' is not supported")
    if mode == "reflect" and max(begin, end) >= max(len(kept), 1) and max(begin, end) > 0:
        raise context.fail(node, f"reflects more cells than its input has ({length})")
    padding = (max(begin, 0), max(end, 0))
    cells = np.pad(kept, padding, mode=modes[mode])  # type: ignore[call-overload]
    return context.gather(x, axis, cells, node, output=0)


def _zero_pad(
    context: Context, node: ir.Node, x: Tracked, begin: list[int], end: list[int], value: float
) -> Tracked:
    batch = x.layout.batch
    if batch is not None and (begin[batch] or end[batch]):
        raise context.fail(node, "pads the batch axis")
    sizes = zip(begin, x.layout.shape, end, strict=True)
    layout = Layout(tuple(first + n + last for first, n, last in sizes), batch)
    if batch is not None:
        begin, end = [*begin[:batch], *begin[batch + 1 :]], [*end[:batch], *end[batch + 1 :]]
    op = Pad(tuple(begin), tuple(end), x.layout.sample)
    padded = context.emit(op, x, layout=layout, node=node)
    if value == 0.0:
        return padded
    outside = np.ones(layout.sample, dtype=bool)
    outside[op.inside] = False
    if np.isneginf(value):
        return replace(padded, absent=outside)
    return shift(context, node, padded, np.where(outside, value, 0.0))


@legalises("DepthToSpace")
def depth_to_space(context: Context, node: ir.Node) -> Tracked:
    """Reshape, transpose, reshape (DCR and CRD)."""
    x = context.batch_first(context.computed(node, 0), node)
    n, c, h, w = _image(context, node, x)
    s = node.attributes.get_int("blocksize", 1)
    if c % (s * s):
        raise context.fail(node, f"{c} channels are no multiple of {s} x {s}")
    if node.attributes.get_string("mode", "DCR") == "CRD":
        shape, perm = (n, c // (s * s), s, s, h, w), (0, 1, 4, 2, 5, 3)
    else:
        shape, perm = (n, s, s, c // (s * s), h, w), (0, 3, 4, 1, 5, 2)
    blocks = context.transpose(context.relayout(x, Layout(shape, 0)), perm, node)
    return context.relayout(blocks, Layout((n, c // (s * s), h * s, w * s), 0))


@legalises("SpaceToDepth")
def space_to_depth(context: Context, node: ir.Node) -> Tracked:
    """Reshape, transpose, reshape."""
    x = context.batch_first(context.computed(node, 0), node)
    n, c, h, w = _image(context, node, x)
    s = node.attributes.get_int("blocksize", 1)
    if h % s or w % s:
        raise context.fail(node, f"its input {h} x {w} is no multiple of block size {s}")
    shape = (n, c, h // s, s, w // s, s)
    blocks = context.transpose(context.relayout(x, Layout(shape, 0)), (0, 3, 5, 1, 2, 4), node)
    return context.relayout(blocks, Layout((n, c * s * s, h // s, w // s), 0))


def _image(context: Context, node: ir.Node, x: Tracked) -> tuple[int, int, int, int]:
    if len(x.layout.shape) != 4:
        raise context.fail(node, f"its input {x.layout.shape} is no batch of images")
    n, c, h, w = x.layout.shape
    return n, c, h, w
