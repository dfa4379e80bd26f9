"""Where by a constant mask, and hinges: choices between two lines that meet."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Array, Context, Tracked, legalises
from graphprune.canonical.patterns.choice import HINGE
from graphprune.canonical.rules.arithmetic import negate, plus, scale, shift, times, total
from graphprune.canonical.rules.comparison import step
from graphprune.canonical.rules.products import product
from graphprune.operators import Relu


@legalises("Where")
def where(context: Context, node: ir.Node) -> Tracked:
    """m x + (1 - m) y for a constant mask m; Where(x > t, ..., ...) of two lines of x is
    h + s (x - t) + d relu(x - t), and a step where they do not meet; the larger or smaller of two
    values is Max or Min; y + m (x - y) for a mask m of other comparisons."""
    if HINGE in node.attributes:
        return _hinge(context, node)
    mask = context.constant(node, 0)
    if mask is None:
        return _chosen(context, node, context.computed(node, 0))
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


def _chosen(context: Context, node: ir.Node, mask: Tracked) -> Tracked:
    """y + m (x - y) of a computed mask."""
    constants = [context.constant(node, i) for i in (1, 2)]
    if any(c is not None and not np.all(np.isfinite(c.astype(np.float64))) for c in constants):
        raise context.fail(node, "chooses a number that is not finite")
    yes, no = (None if c is None else c.astype(np.float64) for c in constants)
    if yes is not None and no is not None:
        return plus(context, node, times(context, node, mask, yes - no), no)
    if no is not None:
        x = context.computed(node, 1)
        rise = plus(context, node, x, -no) if np.any(no) else x
        return plus(context, node, product(context, node, mask, rise), no)
    y = context.computed(node, 2)
    minus = negate(context, node, y)
    if yes is not None:
        rise = plus(context, node, minus, yes) if np.any(yes) else minus
    else:
        rise = total(context, node, context.computed(node, 1), minus)
    return total(context, node, product(context, node, mask, rise), y)


def _hinge(context: Context, node: ir.Node) -> Tracked:
    place, height, below, above, jump, closed = node.attributes.get_floats(HINGE)
    x = context.computed(node, 0)
    if place:
        x = shift(context, node, x, np.array(-place))
    positive = context.emit(Relu(), x, layout=x.layout)
    out = scale(context, node, positive, np.array(above - below))
    if below:
        out = total(context, node, out, scale(context, node, x, np.array(below)))
    if jump:
        risen = scale(context, node, step(context, x, at=closed), np.array(jump))
        out = total(context, node, out, risen)
    return shift(context, node, out, np.array(height)) if height else out
