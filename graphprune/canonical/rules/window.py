"""Sliding windows: strides, pads, dilations and ceil_mode of convolutions and pools."""

from dataclasses import dataclass

import onnx_ir as ir

from graphprune.canonical.context import Context
from graphprune.operators.window import same_pads


@dataclass(frozen=True)
class Window:
    """Where the windows of a convolution or pool lie.

    Attributes
    ----------
    pads
        As the file has them, auto_pad resolved: begin of every axis, then end.
    extra
        Cells beyond the end padding that ceil_mode lets the last window reach.
    lengths
        Number of windows per axis.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    extra: tuple[int, ...]
    lengths: tuple[int, ...]

    def cells(self, axis: int) -> list[tuple[int, ...]]:
        """Per window of one axis the cells it covers; cells in the padding lie outside."""
        starts = (w * self.strides[axis] - self.pads[axis] for w in range(self.lengths[axis]))
        taps = [self.dilations[axis] * k for k in range(self.kernel[axis])]
        return [tuple(start + tap for tap in taps) for start in starts]


def window(
    context: Context, node: ir.Node, spatial: tuple[int, ...], kernel: tuple[int, ...]
) -> Window:
    """The windows of `node` over spatial axes of these sizes."""
    rank = len(spatial)
    strides = tuple(node.attributes.get_ints("strides", (1,) * rank))
    dilations = tuple(node.attributes.get_ints("dilations", (1,) * rank))
    if not len(strides) == len(dilations) == len(kernel) == rank:
        raise context.fail(node, f"its kernel {kernel} does not fit the input's axes {spatial}")
    pads = _pads(context, node, spatial, kernel, strides, dilations)
    ceil = bool(node.attributes.get_int("ceil_mode", 0))
    extra, lengths = [], []
    for i, side in enumerate(spatial):
        span = dilations[i] * (kernel[i] - 1) + 1
        room = side + pads[i] + pads[rank + i] - span
        if room < 0:
            raise context.fail(node, f"its kernel is larger than the padded input {spatial}")
        more = -room % strides[i] if ceil else 0
        # A window that would start in the padding at the end is left out.
        starts_inside = (room + more) // strides[i] * strides[i] < side + pads[i]
        extra.append(more if starts_inside else 0)
        lengths.append((room + extra[i]) // strides[i] + 1)
    return Window(kernel, strides, pads, dilations, tuple(extra), tuple(lengths))


def _pads(
    context: Context,
    node: ir.Node,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    rank = len(spatial)
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0,) * (2 * rank)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        return same_pads(mode, spatial, kernel, strides, dilations)
    if mode != "NOTSET":
        raise context.fail(node, f"auto_pad {mode} is not supported")
    pads = tuple(node.attributes.get_ints("pads", (0,) * (2 * rank)))
    if len(pads) != 2 * rank or min(pads, default=0) < 0:
        raise context.fail(node, f"pads {pads} are not supported")
    return pads
