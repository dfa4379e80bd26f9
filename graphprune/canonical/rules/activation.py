"""Piecewise linear activations: ReLU, and what ReLU and affine maps express."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import negate, plus, scale, shift, times, total
from graphprune.canonical.rules.comparison import step
from graphprune.operators import Relu


@legalises("Relu")
def relu(context: Context, node: ir.Node) -> Tracked:
    """max(x, 0), the dialect's own activation."""
    x = context.computed(node, 0)
    return context.emit(Relu(), x, layout=x.layout, node=node)


def leaky(context: Context, node: ir.Node, x: Tracked, slope: NDArray[np.float64]) -> Tracked:
    """a x + (1 - a) relu(x)."""
    positive = context.emit(Relu(), x, layout=x.layout)
    kept, below = times(context, node, positive, 1.0 - slope), times(context, node, x, slope)
    return total(context, node, kept, below)


@legalises("LeakyRelu")
def leaky_relu(context: Context, node: ir.Node) -> Tracked:
    """a x + (1 - a) relu(x)."""
    alpha = context.number(node, "alpha", 0.01)
    return leaky(context, node, context.computed(node, 0), np.array(alpha))


@legalises("PRelu")
def prelu(context: Context, node: ir.Node) -> Tracked:
    """a x + (1 - a) relu(x) with a constant tensor a."""
    slope = context.need_constant(node, 1, "slope").astype(np.float64)
    return leaky(context, node, context.computed(node, 0), slope)


@legalises("Abs")
def absolute(context: Context, node: ir.Node) -> Tracked:
    """2 relu(x) - x."""
    return magnitude(context, node, context.computed(node, 0))


def magnitude(context: Context, node: ir.Node, x: Tracked) -> Tracked:
    """|x| = 2 relu(x) - x."""
    return leaky(context, node, x, np.array(-1.0))


@legalises("Shrink")
def shrink(context: Context, node: ir.Node) -> Tracked:
    """f(x) - f(-x), f(x) = relu(x - l) and a step of l - bias at l = lambd."""
    bias = context.number(node, "bias", 0.0)
    limit = context.number(node, "lambd", 0.5)
    if limit < 0:
        raise context.fail(node, f"its limit is below 0: {limit:g}")
    x = context.computed(node, 0)
    sides = []
    for sign in (1.0, -1.0):
        turned = scale(context, node, x, np.array(sign))
        one = _beyond(context, node, turned, limit, limit - bias)
        sides.append(scale(context, node, one, np.array(sign)))
    return total(context, node, *sides)


@legalises("ThresholdedRelu")
def thresholded(context: Context, node: ir.Node) -> Tracked:
    """relu(x - a) and a step of a at a = alpha."""
    limit = context.number(node, "alpha", 1.0)
    return _beyond(context, node, context.computed(node, 0), limit, limit)


def _beyond(
    context: Context, node: ir.Node, x: Tracked, limit: float, jump: float
) -> Tracked:  # fmt: skip
    """relu(x - limit), and `jump` where x > limit."""
    over = shift(context, node, x, np.array(-limit)) if limit else x
    positive = context.emit(Relu(), over, layout=over.layout)
    if not jump:
        return positive
    return total(context, node, positive, scale(context, node, step(context, over), np.array(jump)))


@legalises("Binarizer", domain="ai.onnx.ml")
def binarizer(context: Context, node: ir.Node) -> Tracked:
    """A step of x - threshold."""
    limit, x = context.number(node, "threshold", 0.0), context.computed(node, 0)
    over = shift(context, node, x, np.array(-limit)) if limit else x
    return step(context, over, node=node)


def clip_to(
    context: Context, node: ir.Node, x: Tracked, low: float | None, high: float | None
) -> Tracked:
    """max(x, l) = l + relu(x - l); then min(y, h) = h - relu(h - y)."""
    if low is not None:
        above = shift(context, node, x, np.array(-low)) if low else x
        x = context.emit(Relu(end=low), above, layout=x.layout)
        x = shift(context, node, x, np.array(low)) if low else x
    if high is not None:
        room = shift(context, node, negate(context, node, x), np.array(high))
        second = Relu(auxiliary=low is not None, end=high, upper=True)
        cut = context.emit(second, room, layout=x.layout)
        x = shift(context, node, negate(context, node, cut), np.array(high))
    return x


@legalises("Clip")
def clip(context: Context, node: ir.Node) -> Tracked:
    """h - relu(h - l - relu(x - l)), either end may be missing (ReLU6: l = 0, h = 6)."""
    x = context.computed(node, 0)
    ends: list[float | None] = []
    for i, name, side in ((1, "min", -1.0), (2, "max", 1.0)):
        if context.has(node, i):
            end = float(np.ravel(context.need_constant(node, i, name))[0])
        else:
            end = node.attributes.get_float(name, side * np.inf)
        # The ends of float32 itself are how exporters write "none".
        ends.append(None if side * end >= np.finfo(np.float32).max else end)
    low, high = ends
    if low is not None and high is not None and low > high:  # min(max(x, l), h) is h
        return shift(context, node, scale(context, node, x, np.array(0.0)), np.array(high))
    return clip_to(context, node, x, low, high)


@legalises("HardSigmoid")
def hard_sigmoid(context: Context, node: ir.Node) -> Tracked:
    """a x + b clipped to [0, 1]."""
    alpha = context.number(node, "alpha", 0.2)
    beta = context.number(node, "beta", 0.5)
    return clipped_line(context, node, context.computed(node, 0), alpha, beta)


def clipped_line(
    context: Context, node: ir.Node, x: Tracked, slope: float, offset: float
) -> Tracked:
    """slope x + offset clipped to [0, 1]."""
    line = scale(context, node, x, np.array(slope))
    return clip_to(context, node, plus(context, node, line, np.array(offset)), 0.0, 1.0)
