"""DFT and STFT: linear maps between pairs of real and imaginary parts."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.cells import MAX_BYTES
from graphprune.canonical.rules.linear import times_matrix
from graphprune.ir.source import Layout

Floats = NDArray[np.float64]


def fourier_matrix(
    length: int, parts: int, points: int, *, inverse: bool = False, onesided: bool = False
) -> Floats:
    """(length * parts, frequencies * parts of the result): a transform of `points` points.

    Parameters
    ----------
    parts
        1 for real numbers, 2 for pairs.
    onesided
        Half of the spectrum: of the result, or of the inverse transform's input.
    """
    units = np.eye(length * parts).reshape(length * parts, length, parts)
    values = units[..., 0] + (1j * units[..., 1] if parts == 2 else 0j)
    if inverse and onesided:
        return np.fft.irfft(values, points, axis=1)
    found = np.fft.ifft(values, points, axis=1) if inverse else np.fft.fft(values, points, axis=1)
    if onesided:
        found = found[:, : points // 2 + 1]
    return np.stack([found.real, found.imag], axis=-1).reshape(length * parts, -1)


@legalises("DFT")
def dft(context: Context, node: ir.Node) -> Tracked:
    """A matrix along one axis of pairs of real and imaginary parts, its inverse too."""
    x = context.computed(node, 0)
    rank, parts = len(x.layout.shape), x.layout.shape[-1]
    if context.opset < 20:
        given = node.attributes.get_int("axis", 1)
    else:
        given = (
            int(np.ravel(context.need_constant(node, 2, "axis"))[0]) if context.has(node, 2) else -2
        )
    axis = context.axis(given, x.layout, node)
    inverse, onesided = (bool(node.attributes.get_int(n, 0)) for n in ("inverse", "onesided"))
    length = x.layout.shape[axis]
    points = 2 * (length - 1) if inverse and onesided else length
    if context.has(node, 1):
        points = int(np.ravel(context.need_constant(node, 1, "dft_length"))[0])
    if parts not in (1, 2) or axis == rank - 1 or x.layout.batch in (axis, rank - 1):
        raise context.fail(node, f"its input {x.layout.shape} holds no pairs along axis {axis}")
    if onesided and not inverse and parts == 2:
        raise context.fail(node, "takes one side of the spectrum of complex numbers")
    if inverse and onesided and points != 2 * (length - 1):
        raise context.fail(
            node, f"makes {points} numbers of {length} frequencies, on which runtimes disagree;"
            f" only {2 * (length - 1)} are supported"
        )  # fmt: skip
    _fits(context, node, length * parts * 2 * points)
    matrix = fourier_matrix(length, parts, points, inverse=inverse, onesided=onesided)
    last = 1 if inverse and onesided else 2
    order = (*(a for a in range(rank) if a not in (axis, rank - 1)), axis, rank - 1)
    moved = context.transpose(x, order, node)
    lead, batch = moved.layout.shape[:-2], moved.layout.batch
    flat = context.relayout(moved, Layout((*lead, length * parts), batch))
    out = times_matrix(context, node, flat, matrix)
    out = context.relayout(out, Layout((*lead, matrix.shape[1] // last, last), batch))
    return context.transpose(out, tuple(order.index(a) for a in range(rank)), node)


@legalises("STFT")
def stft(context: Context, node: ir.Node) -> Tracked:
    """The transform of overlapping frames under a constant window."""
    x = context.batch_first(context.computed(node, 0), node)
    batch, length, *rest = x.layout.shape
    step = int(np.ravel(context.need_constant(node, 1, "frame step"))[0])
    window = context.need_constant(node, 2, "window") if context.has(node, 2) else None
    points = length if window is None else len(window)
    if context.has(node, 3):
        points = int(np.ravel(context.need_constant(node, 3, "frame length"))[0])
    parts = 1 if not rest else rest[0]
    onesided = bool(node.attributes.get_int("onesided", 1))
    if parts not in (1, 2) or len(rest) > 1 or step < 1 or not 1 <= points <= length:
        raise context.fail(node, f"frames of {points} do not fit its input {x.layout.shape}")
    if window is not None and len(window) != points:
        raise context.fail(node, f"a window of {len(window)} for frames of {points}")
    if onesided and parts == 2:
        raise context.fail(node, "takes one side of the spectrum of complex numbers")
    frames = 1 + (length - points) // step
    _fits(context, node, max(points * parts * 2 * points, frames * points * parts))
    matrix = fourier_matrix(points, parts, points, onesided=onesided)
    if window is not None:
        matrix = matrix * np.repeat(window.astype(np.float64), parts)[:, None]
    read = (step * np.arange(frames)[:, None] + np.arange(points)).reshape(-1)
    cut = context.gather(x, 1, read, node)
    cut = context.relayout(cut, Layout((batch, frames, points * parts), 0))
    out = times_matrix(context, node, cut, matrix)
    return context.relayout(out, Layout((batch, frames, matrix.shape[1] // 2, 2), 0), node)


def _fits(context: Context, node: ir.Node, count: int) -> None:
    if 8 * count > MAX_BYTES:
        raise context.fail(
            node, f"its matrix takes {8 * count >> 20} MiB, more than {MAX_BYTES >> 20}; export it"
            " on shorter signals"
        )  # fmt: skip
