"""CenterCropPad, Compress, ReverseSequence, Trilu: cells kept, turned round or set to zero."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.cells import NOTHING, Cells, choose


@legalises("CenterCropPad")
def center_crop_pad(context: Context, node: ir.Node) -> Tracked:
    """Each axis cropped, or padded by zeros, to a size around its centre."""
    x = context.computed(node, 0)
    sizes = [int(n) for n in np.ravel(context.need_constant(node, 1, "shape"))]
    given = node.attributes.get_ints("axes", tuple(range(len(x.layout.shape))))
    axes = [context.axis(a, x.layout, node) for a in given]
    for axis, size in zip(axes, sizes, strict=True):
        if axis == x.layout.batch and size != x.layout.shape[axis]:
            raise context.fail(node, f"crops or pads the batch axis to {size}")

    def run(cells: Cells) -> Cells:
        for axis, size in zip(axes, sizes, strict=True):
            if axis == x.layout.batch:
                continue
            length = cells.shape[axis]
            start, before = max(length - size, 0) // 2, max(size - length, 0) // 2
            kept = np.take(cells, range(start, start + min(size, length)), axis)
            pads = [(0, 0)] * cells.ndim
            pads[axis] = (before, size - kept.shape[axis] - before)
            cells = np.pad(kept, pads, constant_values=NOTHING)
        return cells

    return choose(context, node, [x], run)


@legalises("Compress")
def compress(context: Context, node: ir.Node) -> Tracked:
    """The slices of an axis, or cells, that a constant condition keeps."""
    x = context.computed(node, 0)
    condition = context.need_constant(node, 1, "condition").astype(bool)
    found = node.attributes.get("axis")
    if found is not None:
        axis = context.axis(found.as_int(), x.layout, node)
        return context.gather(x, axis, np.flatnonzero(condition), node, output=0)
    return choose(context, node, [x], lambda cells: np.compress(condition, cells))


@legalises("ReverseSequence")
def reverse_sequence(context: Context, node: ir.Node) -> Tracked:
    """The first cells along one axis turned round, as many as constant lengths say."""
    x = context.computed(node, 0)
    lengths = context.need_constant(node, 1, "sequence lengths", whole=True).astype(np.int64)
    time, batch = (
        context.axis(node.attributes.get_int(f"{name}_axis", default), x.layout, node)
        for name, default in (("time", 0), ("batch", 1))
    )

    def run(cells: Cells) -> Cells:
        own = np.moveaxis(cells, (batch, time), (0, 1)).copy()
        for sample, length in zip(own, lengths, strict=True):
            sample[:length] = sample[:length][::-1].copy()
        return np.moveaxis(own, (0, 1), (batch, time))

    return choose(context, node, [x], run, (lengths,))


@legalises("Trilu")
def trilu(context: Context, node: ir.Node) -> Tracked:
    """Matrices with zeros below or above a diagonal."""
    x = context.computed(node, 0)
    k = int(np.ravel(context.need_constant(node, 1, "k"))[0]) if context.has(node, 1) else 0
    upper = bool(node.attributes.get_int("upper", 1))

    def run(cells: Cells) -> Cells:
        rows, columns = cells.shape[-2:]
        lower = np.tri(rows, columns, k - 1 if upper else k, dtype=bool)
        return np.where(lower != upper, cells, NOTHING)

    return choose(context, node, [x], run)
