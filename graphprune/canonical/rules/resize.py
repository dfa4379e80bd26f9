"""Resize and Upsample: along every axis one interpolation matrix."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import shift
from graphprune.canonical.rules.linear import along_axis

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interpolation:
    """The way a Resize node finds and mixes cells; the names are those of its attributes."""

    mode: str
    coordinates: str
    nearest_mode: str
    cubic_coeff_a: float
    exclude_outside: bool

    def positions(self, length: int, out: int, scale: float, roi: tuple[float, float]) -> Any:
        """Coordinate in the input of every output cell.

        Nearest neighbours are chosen in float32, as ONNX Runtime does: ties hang on it.
        """
        real: Any = np.float32 if self.mode == "nearest" else np.float64
        i, factor = np.arange(out).astype(real), real(scale)
        half = (i + real(0.5)) / factor - real(0.5)
        last = real(length - 1)
        match self.coordinates:
            case "half_pixel":
                return half
            case "half_pixel_symmetric":
                return real(length / 2 * (1 - out / (scale * length))) + half
            case "pytorch_half_pixel":
                return half if out > 1 else np.zeros_like(i)
            case "align_corners":
                return i * last / real(out - 1) if out > 1 else np.zeros_like(i)
            case "asymmetric":
                return i / factor
            case "tf_half_pixel_for_nn":
                return (i + real(0.5)) / factor
            case "tf_crop_and_resize":
                start, end = real(roi[0]), real(roi[1])
                if out > 1:
                    return start * last + i * (end - start) * last / real(out - 1)
                return np.full(out, (start + end) * last / 2)
        raise ValueError(f"coordinate_transformation_mode '{self.coordinates}' is not supported")

    def matrix(self, length: int, x: NDArray[np.floating]) -> Floats:
        """(len(x), length): the weights of the input's cells at coordinates `x`."""
        rows, weights = np.arange(len(x)), np.zeros((len(x), length))
        if self.mode == "nearest":
            weights[rows, self.nearest(length, x)] = 1.0
        elif self.mode == "linear":
            inside = np.clip(x, 0, length - 1)
            below = np.floor(inside).astype(int)
            part = inside - below
            np.add.at(weights, (rows, below), 1.0 - part)
            np.add.at(weights, (rows, np.minimum(below + 1, length - 1)), part)
        else:
            self._cubic(length, x, weights)
        return weights

    def nearest(self, length: int, x: NDArray[np.floating]) -> NDArray[np.int64]:
        """The cell each coordinate in `x` takes."""
        half = x.dtype.type(0.5)
        match self.nearest_mode:
            case "round_prefer_floor":
                cells = np.ceil(x - half)
            case "round_prefer_ceil":
                cells = np.floor(x + half)
            case "ceil":
                cells = np.ceil(x)
            case _:
                cells = np.floor(x)
        nearest: NDArray[np.int64] = np.clip(cells, 0, length - 1).astype(np.int64)
        return nearest

    def _cubic(self, length: int, x: NDArray[np.floating], weights: Floats) -> None:
        """Keys' cubic convolution over the four cells around `x`."""
        a, rows, base = self.cubic_coeff_a, np.arange(len(x)), np.floor(x).astype(int)
        taps = base[:, None] + np.arange(-1, 3)
        d = np.abs(x[:, None] - taps)
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        parts = np.where(d <= 1, near, far)
        if self.exclude_outside:
            parts = np.where((taps >= 0) & (taps < length), parts, 0.0)
            parts /= parts.sum(axis=1, keepdims=True)
        cells = np.clip(taps, 0, length - 1)
        for k in range(4):
            np.add.at(weights, (rows, cells[:, k]), parts[:, k])


def _interpolation(context: Context, node: ir.Node) -> Interpolation:
    old = node.op_type == "Upsample" or context.opset < 11
    text = node.attributes.get_string
    found = Interpolation(
        {"bilinear": "linear"}.get(mode := text("mode", "nearest") or "", mode),
        text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel") or "",
        text("nearest_mode", "floor" if old else "round_prefer_floor") or "",
        float(node.attributes.get_float("cubic_coeff_a", -0.75)),
        bool(node.attributes.get_int("exclude_outside", 0)),
    )
    if found.mode not in ("nearest", "linear", "cubic"):
        raise context.fail(node, f"mode '{found.mode}' is not supported")
    return found


def _numbers(context: Context, node: ir.Node, index: int, name: str) -> list[float] | None:
    if index >= 0 and context.has(node, index):
        array = np.ravel(context.need_constant(node, index, name)).astype(np.float64)
        return [float(n) for n in array] if array.size else None
    found = node.attributes.get_floats(name, None)
    return None if found is None else [float(n) for n in found]


@legalises("Resize", "Upsample")
def resize(context: Context, node: ir.Node) -> Tracked:
    """One interpolation matrix per axis (nearest, linear, cubic; every coordinate mode)."""
    x = context.computed(node, 0)
    old = node.op_type == "Upsample" or context.opset < 11
    how = _interpolation(context, node)
    rank = len(x.layout.shape)
    chosen = node.attributes.get_ints("axes", tuple(range(rank))) or ()
    axes = [context.axis(a, x.layout, node) for a in chosen]
    scales = _numbers(context, node, 1 if old else 2, "scales")
    sizes = None if old else _numbers(context, node, 3, "sizes")
    roi = None if old else _numbers(context, node, 1, "roi")
    lengths = [x.layout.shape[a] for a in axes]
    if sizes is not None:
        scales, outs = _from_sizes(context, node, lengths, [int(n) for n in sizes])
    elif scales is not None:
        # In float32, as runtimes do: 10 * 1.4 is 14 there, and just below with a wider 1.4.
        outs = [int(np.float32(n) * np.float32(s)) for n, s in zip(lengths, scales, strict=True)]
        context.differs |= outs != [int(n * s) for n, s in zip(lengths, scales, strict=True)]
    else:
        raise context.fail(node, "has neither scales nor sizes")
    if min(outs, default=1) < 1:
        raise context.fail(node, "its output is empty")
    if node.attributes.get_int("antialias", 0) and min(scales) < 1:
        raise context.fail(node, "antialias is not supported; export with antialias=False")
    outside = float(node.attributes.get_float("extrapolation_value", 0.0))
    for k, axis in enumerate(axes):
        box = (0.0, 1.0) if roi is None else (roi[k], roi[len(axes) + k])
        try:
            at = how.positions(lengths[k], outs[k], scales[k], box)
        except ValueError as error:
            raise context.fail(node, str(error)) from None
        if np.array_equal(at, np.arange(lengths[k])):
            continue
        own = how
        if old and scales[k] < 1:
            # Opset 10 does not say how; ONNX Runtime rounds up then.
            own = replace(how, nearest_mode="ceil")
        x = _along(context, node, x, axis, own, at, outside)
    return x


def _along(
    context: Context,
    node: ir.Node,
    x: Tracked,
    axis: int,
    how: Interpolation,
    at: NDArray[np.floating],
    outside: float,
) -> Tracked:
    length = x.layout.shape[axis]
    beyond = (at < 0) | (at > length - 1)
    if how.coordinates == "tf_crop_and_resize" and beyond.any():
        matrix = how.matrix(length, at) * ~beyond[:, None]
        x = along_axis(context, node, x, axis, matrix)
        place = (-1, *(1 for _ in range(len(x.layout.shape) - 1 - axis)))
        offset = context.to_sample((beyond * outside).reshape(place), x.layout, node)
        return shift(context, node, x, offset)
    if how.mode == "nearest":
        return context.gather(x, axis, how.nearest(length, at), node, output=0)
    matrix = how.matrix(length, at)
    if np.array_equal(matrix, np.eye(length)):
        return x
    return along_axis(context, node, x, axis, matrix)


def _from_sizes(
    context: Context, node: ir.Node, lengths: list[int], sizes: list[int]
) -> tuple[list[float], list[int]]:
    """(scales, output lengths); keep_aspect_ratio_policy takes one scale for all axes."""
    scales = [s / n for s, n in zip(sizes, lengths, strict=True)]
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return scales, sizes
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [scale] * len(sizes), [int(np.floor(scale * n + 0.5)) for n in lengths]
