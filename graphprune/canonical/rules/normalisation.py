"""Normalisation: by statistics of training, which is affine, and by those of the sample itself."""

from math import prod

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import RUNTIME, Array, Context, Tracked, legalises
from graphprune.canonical.rules.activation import magnitude
from graphprune.canonical.rules.arithmetic import (
    negate,
    plus,
    scale,
    shift,
    summed,
    times,
    total,
)
from graphprune.canonical.rules.linear import along_axis
from graphprune.canonical.rules.products import product, squared
from graphprune.functions import Power, Reciprocal, Sqrt
from graphprune.ir.source import Layout


@legalises("BatchNormalization")
def batch_normalization(context: Context, node: ir.Node) -> Tracked:
    """s x + (b - s m) with s = gamma / sqrt(variance + epsilon), per channel."""
    # Before opset 14 more outputs than one say it.
    statistics = context.opset < 14 and any(out.name for out in node.outputs[1:])
    if node.attributes.get_int("training_mode", 0) or statistics:
        raise context.fail(node, "is in training mode; export the model with eval()")
    x = context.batch_first(context.computed(node, 0), node)
    if not x.layout.sample:
        raise context.fail(node, "its input has no channel axis")
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        context.need_constant(node, i + 1, name).astype(np.float64) for i, name in enumerate(names)
    )
    total = variance + context.number(node, "epsilon", 1e-5)
    if np.any(total <= 0):
        raise context.fail(node, "has a variance that is not positive")
    factor = gamma / np.sqrt(total)
    channel = (-1, *(1 for _ in x.layout.sample[1:]))
    scaled = scale(context, node, x, factor.reshape(channel))
    return shift(context, node, scaled, (beta - mean * factor).reshape(channel))


def standardised(
    context: Context, node: ir.Node, x: Tracked, axes: list[int], epsilon: float
) -> Tracked:
    """(x - m) (v + epsilon)^(-1/2) with mean m and variance v over the file's axes."""
    count = prod(x.layout.shape[a] for a in axes)
    mean = scale(context, node, summed(context, node, x, axes), np.array(1.0 / count))
    return by_root(
        context, node, total(context, node, x, negate(context, node, mean)), axes, epsilon
    )


def by_root(
    context: Context, node: ir.Node, x: Tracked, axes: list[int], epsilon: float
) -> Tracked:
    """x (mean(x^2) + epsilon)^(-1/2), the mean over the file's axes."""
    count = prod(x.layout.shape[a] for a in axes)
    squares = summed(context, node, squared(context, node, x), axes)
    power = shift(
        context, node, scale(context, node, squares, np.array(1.0 / count)), np.array(epsilon)
    )
    return product(context, node, x, context.emit(Power(-0.5), power, layout=power.layout))


def _last_axes(context: Context, node: ir.Node, x: Tracked) -> list[int]:
    """The axes from the attribute `axis` on."""
    first = context.axis(node.attributes.get_int("axis", -1), x.layout, node)
    axes = list(range(first, len(x.layout.shape)))
    for axis in axes:
        context.sample_axis(axis, x.layout, node)
    return axes


def _affine(
    context: Context, node: ir.Node, x: Tracked, gamma: Array | None, beta: Array | None
) -> Tracked:
    """gamma x + beta; either may be missing."""
    x = x if gamma is None else times(context, node, x, gamma.astype(np.float64))
    return x if beta is None else plus(context, node, x, beta.astype(np.float64))


def _given(context: Context, node: ir.Node, index: int, name: str) -> Array | None:
    """A constant operand that may be missing."""
    return context.need_constant(node, index, name) if context.has(node, index) else None


@legalises("LayerNormalization")
def layer_normalization(context: Context, node: ir.Node) -> Tracked:
    """g (x - m) (v + epsilon)^(-1/2) + b with mean m and variance v over the last axes."""
    x = context.computed(node, 0)
    axes = _last_axes(context, node, x)
    out = standardised(context, node, x, axes, context.number(node, "epsilon", 1e-5))
    return _affine(
        context, node, out, _given(context, node, 1, "scale"), _given(context, node, 2, "bias")
    )


@legalises("RMSNormalization")
@legalises("SimplifiedLayerNormalization")
def rms_normalization(context: Context, node: ir.Node) -> Tracked:
    """g x (mean(x^2) + epsilon)^(-1/2), the mean over the last axes."""
    x = context.computed(node, 0)
    axes = _last_axes(context, node, x)
    out = by_root(context, node, x, axes, context.number(node, "epsilon", 1e-5))
    return _affine(context, node, out, _given(context, node, 1, "scale"), None)


@legalises("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=RUNTIME)
def skip_normalization(context: Context, node: ir.Node) -> tuple[Tracked, ...]:
    """The normalisation of x + y + c over the last axis; its fourth output is that sum."""
    simple = node.op_type.startswith("SkipSimplified")
    if any(out.uses() for out in node.outputs[1:3]):
        raise context.fail(node, "its mean or deviation is used; only its first and last output are"
                           " supported")  # fmt: skip
    constant: Array = np.zeros(())
    values: list[Tracked] = []
    for index in (0, 1, 3 if simple else 4):
        if not context.has(node, index):
            continue
        given = context.constant(node, index)
        if given is None:
            values.append(context.computed(node, index))
        else:
            constant = np.add(constant, given)
    whole = plus(context, node, total(context, node, *values), constant)
    axes, epsilon = [len(whole.layout.shape) - 1], context.number(node, "epsilon", 1e-12)
    context.sample_axis(axes[0], whole.layout, node)
    out = (by_root if simple else standardised)(context, node, whole, axes, epsilon)
    beta = None if simple else _given(context, node, 3, "bias")
    out = _affine(context, node, out, _given(context, node, 2, "scale"), beta)
    return (out, out, out, whole)[: len(node.outputs)]


@legalises("InstanceNormalization")
def instance_normalization(context: Context, node: ir.Node) -> Tracked:
    """g (x - m) (v + epsilon)^(-1/2) + b with mean m and variance v of every channel."""
    x = context.batch_first(context.computed(node, 0), node)
    axes = list(range(2, len(x.layout.shape)))
    out = standardised(context, node, x, axes, context.number(node, "epsilon", 1e-5))
    return _per_channel(context, node, out)


@legalises("GroupNormalization")
def group_normalization(context: Context, node: ir.Node) -> Tracked:
    """g (x - m) (v + epsilon)^(-1/2) + b with mean m and variance v of every group of channels."""
    x = context.batch_first(context.computed(node, 0), node)
    layout, groups = x.layout, node.attributes.get_int("num_groups", 0)
    if groups < 1 or layout.shape[1] % groups:
        raise context.fail(node, f"{layout.shape[1]} channels do not make {groups} groups")
    grouped = Layout((layout.shape[0], groups, layout.size // groups), 0)
    parts = context.relayout(x, grouped)
    out = standardised(context, node, parts, [2], context.number(node, "epsilon", 1e-5))
    return _per_channel(context, node, context.relayout(out, layout))


def _per_channel(context: Context, node: ir.Node, x: Tracked) -> Tracked:
    """gamma x + beta with numbers per channel."""
    shape = (-1, *(1 for _ in x.layout.shape[2:]))
    gamma, beta = (
        context.need_constant(node, i, name).reshape(shape)
        for i, name in ((1, "scale"), (2, "bias"))
    )
    return _affine(context, node, x, gamma, beta)


@legalises("MeanVarianceNormalization")
def mean_variance_normalization(context: Context, node: ir.Node) -> Tracked:
    """(x - m) / (sqrt(v) + 1e-9) with mean m and variance v over axes, not that of the batch."""
    x = context.computed(node, 0)
    axes = [context.axis(a, x.layout, node) for a in node.attributes.get_ints("axes", (0, 2, 3))]
    kept = [a for a in axes if a != x.layout.batch]
    if len(kept) < len(axes) and context.batch_size != 1:
        raise context.fail(node, f"works along the batch axis ({x.layout.batch})")
    count = prod(x.layout.shape[a] for a in kept)
    mean = scale(context, node, summed(context, node, x, kept), np.array(1.0 / count))
    middle = total(context, node, x, negate(context, node, mean))
    squares = summed(context, node, squared(context, node, middle), kept)
    variance = scale(context, node, squares, np.array(1.0 / count))
    root = context.emit(Sqrt(), variance, layout=variance.layout)
    spread = shift(context, node, root, np.array(1e-9))
    return product(context, node, middle, context.emit(Reciprocal(), spread, layout=spread.layout))


@legalises("LpNormalization")
def lp_normalization(context: Context, node: ir.Node) -> Tracked:
    """x / ||x|| along an axis, p = 1 or 2; not defined at x = 0."""
    x = context.computed(node, 0)
    axis = context.axis(node.attributes.get_int("axis", -1), x.layout, node)
    context.sample_axis(axis, x.layout, node)
    if node.attributes.get_int("p", 2) == 1:
        norm = summed(context, node, magnitude(context, node, x), [axis])
        inverse = context.emit(Reciprocal(), norm, layout=norm.layout)
    else:
        norm = summed(context, node, squared(context, node, x), [axis])
        inverse = context.emit(Power(-0.5), norm, layout=norm.layout)
    return product(context, node, x, inverse)


@legalises("LRN")
def lrn(context: Context, node: ir.Node) -> Tracked:
    """x (k + a / n times the sum of x^2 over n neighbouring channels)^(-b)."""
    x = context.batch_first(context.computed(node, 0), node)
    size, channels = node.attributes.get_int("size", 1), x.layout.shape[1]
    place = np.arange(channels)
    offset = place[None] - place[:, None]
    near = (offset >= -((size - 1) // 2)) & (offset <= size // 2)
    factor = context.number(node, "alpha", 1e-4) / size
    sums = along_axis(context, node, squared(context, node, x), 1, factor * near.astype(np.float64))
    base = shift(context, node, sums, np.array(context.number(node, "bias", 1.0)))
    beta = context.number(node, "beta", 0.75)
    return product(context, node, x, context.emit(Power(-beta), base, layout=base.layout))
