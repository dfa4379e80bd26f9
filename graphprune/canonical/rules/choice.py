"""Where by a constant mask, and hinges: choices between two lines that meet."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Array, Context, Tracked, legalises
from graphprune.canonical.patterns.choice import HINGE
from graphprune.canonical.rules.arithmetic import plus, scale, shift, times, total
from graphprune.operators import Relu


@legalises("Where")
def where(context: Context, node: ir.Node) -> Tracked:
    """m x + (1 - m) y for a constant mask m; Where(x > t, ..., ...) of two lines that meet at t is
    h + s (x - t) + d relu(x - t), the larger or smaller of two values is Max or Min."""
    if HINGE in node.attributes:
        return _hinge(context, node)
    mask = context.need_constant(node, 0, "condition (a choice by computed values jumps)")
    parts = []
    offset: Array | None = None
    for i, side in ((1, mask.astype(bool)), (2, ~mask.astype(bool))):
        constant = context.constant(node, i)
        if constant is not None:
            # Numbers that are not chosen do not count, be they infinite.
            offset = np.where(side, constant.astype(np.float64), 0.0)
        elif side.any():
            parts.append(times(context, node, context.computed(node, i), side.astype(np.float64)))
    if not parts:  # a constant: nothing of the computed side is chosen
        computed = next(i for i in (1, 2) if context.constant(node, i) is None)
        parts = [times(context, node, context.computed(node, computed), np.zeros(mask.shape))]
    x = total(context, node, *parts)
    return x if offset is None else plus(context, node, x, offset)


def _hinge(context: Context, node: ir.Node) -> Tracked:
    place, height, below, above = node.attributes.get_floats(HINGE)
    x = context.computed(node, 0)
    if place:
        x = shift(context, node, x, np.array(-place))
    positive = context.emit(Relu(), x, layout=x.layout)
    out = scale(context, node, positive, np.array(above - below))
    if below:
        out = total(context, node, out, scale(context, node, x, np.array(below)))
    return shift(context, node, out, np.array(height)) if height else out
