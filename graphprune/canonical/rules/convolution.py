"""Conv, and AveragePool as the depthwise convolution it is."""

from math import prod

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.ir.source import Layout
from graphprune.operators import Conv, Scale


def _window(
    context: Context, node: ir.Node, spatial: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(strides, pads, dilations) with auto_pad resolved."""
    rank = len(spatial)
    strides = tuple(node.attributes.get_ints("strides", (1,) * rank))
    dilations = tuple(node.attributes.get_ints("dilations", (1,) * rank))
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = tuple(node.attributes.get_ints("pads", (0,) * (2 * rank)))
        if len(pads) != 2 * rank or min(pads) < 0:
            raise context.fail(node, f"pads {pads} are not supported")
    elif mode == "VALID":
        pads = (0,) * (2 * rank)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            for n, s, k, d in zip(spatial, strides, kernel, dilations, strict=True)
        ]
        small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
        pads = (*small, *large) if mode == "SAME_UPPER" else (*large, *small)
    else:
        raise context.fail(node, f"auto_pad {mode} is not supported")
    return strides, pads, dilations


@legalises("Conv")
def conv(context: Context, node: ir.Node) -> Tracked:
    x = context.batch_first(context.computed(node, 0), node)
    weight = context.need_constant(node, 1, "weight").astype(np.float64)
    channels = weight.shape[0]
    bias = np.zeros(channels)
    if context.has(node, 2):
        bias = context.need_constant(node, 2, "bias").astype(np.float64)
    group = node.attributes.get_int("group", 1)
    in_shape = x.layout.sample
    if weight.ndim != len(in_shape) + 1 or in_shape[0] != weight.shape[1] * group:
        raise context.fail(node, f"weight {weight.shape} does not fit the input {in_shape}")
    if channels % group:
        raise context.fail(node, f"{channels} output channels are no multiple of group {group}")
    strides, pads, dilations = _window(context, node, in_shape[1:], weight.shape[2:])
    op = Conv(weight, bias, in_shape, strides, pads, dilations, group)
    return _emit_windows(context, node, op, x)


def _emit_windows(context: Context, node: ir.Node, op: Conv, x: Tracked) -> Tracked:
    shape = op.output_shape(x.layout.sample)
    if min(shape) < 1:
        raise context.fail(node, f"its kernel is larger than the padded input {x.layout.sample}")
    return context.emit(op, x, layout=Layout((x.layout.shape[0], *shape), 0), node=node)


@legalises("AveragePool")
def average_pool(context: Context, node: ir.Node) -> Tracked:
    x = context.batch_first(context.computed(node, 0), node)
    channels, *spatial = x.layout.sample
    kernel = tuple(node.attributes.get_ints("kernel_shape", ()))
    strides, pads, dilations = _window(context, node, tuple(spatial), kernel)
    rank = len(spatial)
    extra = [0] * rank
    if node.attributes.get_int("ceil_mode", 0):
        for i in range(rank):
            span = dilations[i] * (kernel[i] - 1) + 1
            room = spatial[i] + pads[i] + pads[rank + i] - span
            more = -room % strides[i]
            # A window that would start in the padding at the end is left out.
            start = (room + more) // strides[i] * strides[i]
            extra[i] = more if start < spatial[i] + pads[i] else 0
    padded = (*pads[:rank], *(pads[rank + i] + extra[i] for i in range(rank)))
    ones = np.ones((channels, 1, *kernel))
    op = Conv(
        ones / prod(kernel),
        np.zeros(channels),
        x.layout.sample,
        strides,
        padded,
        dilations,
        channels,
    )
    counts = _cells(
        op, include_pad=bool(node.attributes.get_int("count_include_pad", 0)), pads=pads
    )
    pooled = _emit_windows(context, node, op, x)
    if np.all(counts == prod(kernel)):
        return pooled
    factor = prod(kernel) / counts
    return context.emit(
        Scale(factor, pooled.layout.sample), pooled, layout=pooled.layout, node=node
    )


def _cells(op: Conv, *, include_pad: bool, pads: tuple[int, ...]) -> np.ndarray:
    """Number of cells each window averages over, shape (1, *output spatial)."""
    rank = len(op.strides)
    counts = np.ones((1,) * (rank + 1))
    for i, length in enumerate(op.output_shape(op.in_shape)[1:]):
        first = np.arange(length) * op.strides[i] - op.pads[i]
        cells = first[:, None] + op.dilations[i] * np.arange(op.weight.shape[2 + i])[None]
        low = -pads[i] if include_pad else 0
        high = op.in_shape[1 + i] + (pads[rank + i] if include_pad else 0)
        inside = ((cells >= low) & (cells < high)).sum(axis=1).astype(np.float64)
        counts = counts * inside.reshape((1,) * (i + 1) + (-1,) + (1,) * (rank - 1 - i))
    return np.maximum(counts, 1.0)
