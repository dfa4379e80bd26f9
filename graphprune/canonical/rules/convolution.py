"""Conv, ConvTranspose, and AveragePool as the depthwise convolution it is."""

from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.activation import magnitude
from graphprune.canonical.rules.window import Window, window
from graphprune.ir.source import Layout
from graphprune.operators import Conv, ConvTranspose, Scale

Floats = NDArray[np.float64]


def _weights(context: Context, node: ir.Node, channels: int) -> tuple[Floats, Floats, int]:
    """(weight, bias, group) of a convolution whose output channels are weight axis `channels`."""
    weight = context.need_constant(node, 1, "weight").astype(np.float64)
    group = node.attributes.get_int("group", 1)
    if weight.ndim < 3 or group < 1:
        raise context.fail(node, f"its weight {weight.shape} is none of a convolution")
    outputs = weight.shape[0] if channels == 0 else weight.shape[1] * group
    bias = np.zeros(outputs)
    if context.has(node, 2):
        bias = context.need_constant(node, 2, "bias").astype(np.float64)
        if bias.shape != (outputs,):
            raise context.fail(node, f"its bias {bias.shape} does not fit {outputs} channels")
    return weight, bias, group


@legalises("Conv")
def conv(context: Context, node: ir.Node) -> Tracked:
    """W * x + b, all attributes."""
    x = context.batch_first(context.computed(node, 0), node)
    weight, bias, group = _weights(context, node, 0)
    in_shape = x.layout.sample
    if weight.ndim != len(in_shape) + 1 or in_shape[0] != weight.shape[1] * group:
        raise context.fail(node, f"weight {weight.shape} does not fit the input {in_shape}")
    if len(weight) % group:
        raise context.fail(node, f"{len(weight)} output channels are no multiple of group {group}")
    w = window(context, node, in_shape[1:], weight.shape[2:])
    op = Conv(weight, bias, in_shape, w.strides, w.pads, w.dilations, group)
    return _emit_windows(context, node, op, x)


def _emit_windows(context: Context, node: ir.Node, op: Conv | ConvTranspose, x: Tracked) -> Tracked:
    shape = op.output_shape(x.layout.sample)
    if min(shape) < 1:
        raise context.fail(node, f"its output {shape} is empty for the input {x.layout.sample}")
    return context.emit(op, x, layout=Layout((x.layout.shape[0], *shape), 0), node=node)


@legalises("ConvTranspose")
def conv_transpose(context: Context, node: ir.Node) -> Tracked:
    """The adjoint of a convolution, all attributes."""
    x = context.batch_first(context.computed(node, 0), node)
    weight, bias, group = _weights(context, node, 1)
    in_shape, rank = x.layout.sample, weight.ndim - 2
    if weight.ndim != len(in_shape) + 1 or in_shape[0] != len(weight) or in_shape[0] % group:
        raise context.fail(node, f"weight {weight.shape} does not fit the input {in_shape}")
    strides = tuple(node.attributes.get_ints("strides", (1,) * rank))
    dilations = tuple(node.attributes.get_ints("dilations", (1,) * rank))
    more = list(node.attributes.get_ints("output_padding", (0,) * rank))
    full = [
        strides[i] * (in_shape[1 + i] - 1) + dilations[i] * (weight.shape[2 + i] - 1) + 1 + more[i]
        for i in range(rank)
    ]
    pads = _transposed_pads(context, node, in_shape[1:], strides, full)
    for axis in range(rank):
        room = pads[axis] + pads[rank + axis]
        if room < 0:  # more cells than there are windows: at the end, as in ONNX Runtime
            more[axis] -= room
            pads[axis] = pads[rank + axis] = 0
    if any(m >= s for m, s in zip(more, strides, strict=True)) or min(pads, default=0) < 0:
        raise context.fail(
            node, f"an output_padding of {more} is not below the strides {strides}, or pads"
            f" {pads} are negative"
        )  # fmt: skip
    op = ConvTranspose(weight, bias, in_shape, strides, tuple(pads), dilations, tuple(more), group)
    return _emit_windows(context, node, op, x)


def _transposed_pads(
    context: Context,
    node: ir.Node,
    spatial: tuple[int, ...],
    strides: tuple[int, ...],
    full: list[int],
) -> list[int]:
    """pads, or what output_shape and auto_pad ask for."""
    rank = len(spatial)
    wanted = list(node.attributes.get_ints("output_shape", ()))[-rank:]
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if not wanted and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [min(n * s, f) for n, s, f in zip(spatial, strides, full, strict=True)]
    if not wanted:
        return list(node.attributes.get_ints("pads", (0,) * (2 * rank)))
    totals = [f - w for f, w in zip(full, wanted, strict=True)]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return [*small, *large] if mode == "SAME_UPPER" else [*large, *small]


@legalises("AveragePool")
def average_pool(context: Context, node: ir.Node) -> Tracked:
    """A depthwise convolution with 1/k, rescaled where count_include_pad or ceil_mode make a
    window average over fewer cells."""
    x = context.batch_first(context.computed(node, 0), node)
    channels, *spatial = x.layout.sample
    w = window(context, node, tuple(spatial), tuple(node.attributes.get_ints("kernel_shape", ())))
    cells, rank = prod(w.kernel), len(spatial)
    padded = (*w.pads[:rank], *(w.pads[rank + i] + w.extra[i] for i in range(rank)))
    weight = np.ones((channels, 1, *w.kernel)) / cells
    shape = x.layout.sample
    op = Conv(weight, np.zeros(channels), shape, w.strides, padded, w.dilations, channels)
    counts = _counts(w, tuple(spatial), bool(node.attributes.get_int("count_include_pad", 0)))
    pooled = _emit_windows(context, node, op, x)
    if np.all(counts == cells):
        return pooled
    factor = Scale(cells / counts, pooled.layout.sample)
    return context.emit(factor, pooled, layout=pooled.layout, node=node)


@legalises("LpPool")
def lp_pool(context: Context, node: ir.Node) -> Tracked:
    """Sums of |x| over windows, for p = 1."""
    if (p := node.attributes.get_int("p", 2)) != 1:
        raise context.fail(node, f"takes roots of sums of powers (p = {p}); only p = 1 is linear")
    x = magnitude(context, node, context.batch_first(context.computed(node, 0), node))
    channels, *spatial = x.layout.sample
    w = window(context, node, tuple(spatial), tuple(node.attributes.get_ints("kernel_shape", ())))
    rank = len(spatial)
    padded = (*w.pads[:rank], *(w.pads[rank + i] + w.extra[i] for i in range(rank)))
    weight = np.ones((channels, 1, *w.kernel))
    shape = x.layout.sample
    op = Conv(weight, np.zeros(channels), shape, w.strides, padded, w.dilations, channels)
    return _emit_windows(context, node, op, x)


@legalises("Col2Im")
def col2im(context: Context, node: ir.Node) -> Tracked:
    """Overlapping blocks added up: a transposed convolution with one weight per cell of a block."""
    x = context.batch_first(context.computed(node, 0), node)
    image, block = (
        tuple(int(n) for n in np.ravel(context.need_constant(node, i, name)))
        for i, name in ((1, "image shape"), (2, "block shape"))
    )
    w = window(context, node, image, block)
    cells, rank = prod(block), len(block)
    if len(x.layout.sample) != 2 or x.layout.sample[0] % cells:
        raise context.fail(node, f"its input {x.layout.shape} does not hold blocks of {block}")
    channels = x.layout.sample[0] // cells
    sample = (channels * cells, *w.lengths)
    # Cells of the image behind the last block.
    more = tuple(
        (image[i] + w.pads[i] + w.pads[rank + i] - w.dilations[i] * (block[i] - 1) - 1)
        % w.strides[i]
        for i in range(rank)
    )
    weight = np.tile(np.eye(cells).reshape(cells, 1, *block), (channels, *(1,) * (rank + 1)))
    grid = context.relayout(x, Layout((x.layout.shape[0], *sample), 0))
    op = ConvTranspose(
        weight, np.zeros(channels), sample, w.strides, w.pads, w.dilations, more, channels
    )
    return _emit_windows(context, node, op, grid)


def _counts(w: Window, spatial: tuple[int, ...], include_pad: bool) -> Floats:
    """Number of cells each window averages over, shape (1, *output spatial)."""
    rank = len(spatial)
    counts = np.ones((1,) * (rank + 1))
    for i, side in enumerate(spatial):
        low = -w.pads[i] if include_pad else 0
        high = side + (w.pads[rank + i] if include_pad else 0)
        inside = np.array([float(sum(low <= c < high for c in cells)) for cells in w.cells(i)])
        counts = counts * inside.reshape((1,) * (i + 1) + (-1,) + (1,) * (rank - 1 - i))
    return np.maximum(counts, 1.0)
