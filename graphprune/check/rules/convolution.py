"""Convolutions and means over windows as matrices."""

from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import onnx
from scipy import sparse

from graphprune.check.reader import Attributes, ModelReader, UnreadableError, diagonal, reads
from graphprune.check.steps import Floats, Shape


@dataclass(frozen=True)
class SlidingWindow:
    """Places of a window that moves over an image: one number per spatial axis in each field.

    Attributes
    ----------
    outs
        Number of places.
    strides, dilations
        Steps between places, and between the cells of one.
    before
        Cells of padding before the first one of the image.
    """

    outs: Shape
    strides: Shape
    dilations: Shape
    before: Shape


def window(a: Attributes, sides: Shape, kernel: Shape) -> SlidingWindow:
    """The window of a convolution's or pool's attributes, which it takes.

    Raises
    ------
    UnreadableError
        Negative padding, no place for it, or rounding up of their number.
    """
    n = len(sides)
    a.pop("kernel_shape", None)
    strides, dilations = a.pop("strides", [1] * n), a.pop("dilations", [1] * n)
    mode, pads = a.pop("auto_pad", b"NOTSET").decode(), a.pop("pads", [0] * (2 * n))
    if a.pop("ceil_mode", 0):
        raise UnreadableError("ceil_mode is not supported")
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        outs = [-(-side // s) for side, s in zip(sides, strides, strict=True)]
        total = [max(0, (outs[i] - 1) * strides[i] + spans[i] - sides[i]) for i in range(n)]
        before = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
    elif mode in ("NOTSET", "VALID"):
        before, after = (list(pads[:n]), list(pads[n:])) if mode == "NOTSET" else ([0] * n, [0] * n)
        outs = [
            (sides[i] + before[i] + after[i] - spans[i]) // strides[i] + 1 for i in range(n)
        ]  # fmt: skip
        if min(after) < 0:
            raise UnreadableError("negative pads or no output")
    else:
        raise UnreadableError(f"auto_pad {mode}")
    if min(before) < 0 or min(outs) < 1:
        raise UnreadableError("negative pads or no output")
    return SlidingWindow(tuple(outs), tuple(strides), tuple(dilations), tuple(before))


@reads("Conv")
def _conv(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    weight, shape = r.weight(node, 1), r.shape(node.input[0])
    sides, kernel = shape[1:], weight.shape[2:]
    if weight.ndim != len(shape) + 1 or list(a.pop("kernel_shape", kernel)) != list(kernel):
        raise UnreadableError("kernel and input do not fit")
    group = a.pop("group", 1)
    if shape[0] != weight.shape[1] * group or weight.shape[0] % group:
        raise UnreadableError("group and channels do not fit")
    w = window(a, sides, kernel)
    matrix = _conv_matrix(weight, sides, w, group)
    bias = r.constant(node, 2)
    offset = None if bias is None else np.repeat(bias.astype(np.float64), prod(w.outs))
    r.add(node, (len(weight), *w.outs), input=node.input[0], matrix=matrix, bias=offset)


@reads("AveragePool")
def _average_pool(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape, kernel = r.shape(node.input[0]), tuple(a.pop("kernel_shape"))
    if len(kernel) != len(shape) - 1:
        raise UnreadableError("kernel and input do not fit")
    w = window(a, shape[1:], kernel)
    ones = np.ones((shape[0], 1, *kernel))
    matrix = _conv_matrix(ones, shape[1:], w, shape[0])
    counts = np.full(matrix.shape[0], float(prod(kernel)))
    if not a.pop("count_include_pad", 0):
        counts = np.diff(matrix.indptr).astype(np.float64)
    if np.any(counts == 0.0):
        raise UnreadableError("a window lies in the padding alone")
    # One rounding more per weight than the file's numbers have; the propagation counts it.
    mean = sparse.csr_array(diagonal(1.0 / counts) @ matrix)
    r.add(node, (shape[0], *w.outs), input=node.input[0], matrix=mean)


def _conv_matrix(weight: Floats, sides: Shape, w: SlidingWindow, group: int) -> sparse.csr_array:
    channels_out, per_group = weight.shape[:2]
    channel_in = (
        np.arange(channels_out)[:, None] // (channels_out // group) * per_group
        + np.arange(per_group)[None]
    )
    rows, columns, values = [], [], []
    kernel = weight.shape[2:]
    for offset in product(*(range(k) for k in kernel)):
        at = np.indices(w.outs).reshape(len(w.outs), -1)
        source = [
            at[i] * w.strides[i] - w.before[i] + offset[i] * w.dilations[i]
            for i in range(len(w.outs))
        ]
        inside = np.all([(s >= 0) & (s < side) for s, side in zip(source, sides, strict=True)], 0)
        pixel_out = np.flatnonzero(inside)
        if not len(pixel_out):
            continue
        pixel_in = np.ravel_multi_index([s[inside] for s in source], sides)
        shape = (channels_out, per_group, len(pixel_out))
        row = np.arange(channels_out)[:, None, None] * prod(w.outs) + pixel_out
        rows.append(np.broadcast_to(row, shape).ravel())
        columns.append((channel_in[:, :, None] * prod(sides) + pixel_in).ravel())
        value = weight.reshape(channels_out, per_group, -1)[
            :, :, np.ravel_multi_index(offset, kernel)
        ]
        values.append(np.broadcast_to(value[:, :, None], shape).ravel())
    size = (channels_out * prod(w.outs), channel_in.max() * prod(sides) + prod(sides))
    if not rows:
        return sparse.csr_array(size)
    parts = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(sparse.coo_array(parts, shape=size))
