"""GridSample with a constant grid, and AffineGrid of computed transforms."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.cells import MAX_BYTES, NOTHING, Cells, choose
from graphprune.canonical.rules.linear import along_axis, times_matrix
from graphprune.ir.source import Layout

Floats = NDArray[np.float64]
# Keys' constant of ONNX's cubic interpolation.
CUBIC = -0.75
# Coordinates of a computed grid as near as this to the middle of two cells choose either.
TIE = 1e-3


@dataclass(frozen=True)
class Sampler:
    """The way a GridSample node finds and mixes cells; the names are those of its attributes."""

    mode: str
    padding: str
    align_corners: bool

    def positions(self, n: NDArray[np.floating], length: int) -> NDArray[np.floating]:
        """Coordinates -1 to 1 as cells of an axis, in the type of `n`."""
        if self.align_corners:
            return (n + 1) / 2 * (length - 1)
        return ((n + 1) * length - 1) / 2

    def taps(self, x: NDArray[np.floating], length: int) -> tuple[Cells, Floats]:
        """(cells, weights), each (k, positions), of positions along an axis."""
        if self.mode == "nearest":
            cells, weights = np.rint(self._inside(np.rint(x), length))[None], np.ones((1, len(x)))
        else:
            # Cubic weights go on beyond a border, as in PyTorch: its cells alone are clipped.
            x = x if (self.mode, self.padding) == ("cubic", "border") else self._inside(x, length)
            first = np.floor(x)
            d = x - first
            offsets = (0, 1) if self.mode == "linear" else (-1, 0, 1, 2)
            cells = first + np.array(offsets)[:, None]
            weights = np.stack([1 - d, d]) if self.mode == "linear" else _keys(d)
        if self.padding == "zeros":
            weights = np.where((cells >= 0) & (cells < length), weights, 0.0)
        elif self.padding == "reflection":
            cells = np.trunc(self._reflected(cells, length))
        return np.clip(cells, 0, length - 1).astype(np.int64), weights

    def _inside(self, x: NDArray[np.floating], length: int) -> NDArray[np.floating]:
        if self.padding == "border":
            x = np.clip(x, 0, length - 1)
        return self._reflected(x, length) if self.padding == "reflection" else x

    def _reflected(self, x: NDArray[np.floating], length: int) -> NDArray[np.floating]:
        """`x` mirrored at the borders until it lies between them."""
        low, high = (0.0, length - 1.0) if self.align_corners else (-0.5, length - 0.5)
        beyond = (x < low) | (x > high)
        if not beyond.any():
            return x
        if low == high:
            raise ValueError("it reflects at the borders of an axis of length 1")
        away = np.where(x < low, low - x, x - high)
        turns = np.floor(away / (high - low))
        rest = away - turns * (high - low)
        from_low = (turns % 2 == 0) == (x < low)
        return np.where(beyond, np.where(from_low, low + rest, high - rest), x)


def _keys(d: NDArray[np.floating]) -> Floats:
    """Weights of the four cells around a position, `d` behind the second."""
    a = CUBIC

    def far(t: NDArray[np.floating]) -> Any:
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    def near(t: NDArray[np.floating]) -> Any:
        return ((a + 2) * t - (a + 3)) * t * t + 1

    weights: Floats = np.stack([far(d + 1), near(d), near(1 - d), far(2 - d)])
    return weights


@legalises("GridSample")
def grid_sample(context: Context, node: ir.Node) -> Tracked:
    """The interpolation of a constant grid of places (nearest, linear, cubic; every padding)."""
    x = context.batch_first(context.computed(node, 0), node)
    grid = context.need_constant(node, 1, "grid").astype(np.float64)
    text = node.attributes.get_string
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(m := text("mode", "linear") or "", m)
    how = Sampler(
        mode, text("padding_mode", "zeros") or "", bool(node.attributes.get_int("align_corners", 0))
    )
    spatial, sizes = x.layout.shape[2:], grid.shape[1:-1]
    if grid.shape[-1] != len(spatial) or len(grid) != x.layout.shape[0]:
        raise context.fail(node, f"its grid {grid.shape} does not fit its input {x.layout.shape}")
    if np.any(grid != grid[:1]):
        raise context.fail(node, "its grid differs along the batch axis")
    # The last coordinate is that of the first spatial axis.
    places = grid[0].reshape(-1, len(spatial))[:, ::-1]
    if mode == "nearest":
        taps = _nearest(context, node, how, places, spatial)
    else:
        taps = [how.taps(how.positions(n, s), s) for n, s in zip(places.T, spatial, strict=True)]
    batch, channels = x.layout.shape[:2]
    layout = Layout((batch, channels, *sizes), 0)
    if mode == "nearest":
        kept = prod(weights[0] for _, weights in taps) > 0
        read = np.ravel_multi_index(tuple(cells[0] for cells, _ in taps), spatial)
        return choose(context, node, [x], _reader(np.where(kept, read, NOTHING), sizes))
    if 8 * len(places) * prod(spatial) > MAX_BYTES:
        raise context.fail(
            node, f"its matrix of {len(places)} x {prod(spatial)} takes more than"
            f" {MAX_BYTES >> 20} MiB; export it on smaller tensors"
        )  # fmt: skip
    matrix = np.zeros((len(places), prod(spatial)))
    for chosen in product(*(zip(cells, weights, strict=True) for cells, weights in taps)):
        column = np.ravel_multi_index(tuple(cells for cells, _ in chosen), spatial)
        np.add.at(matrix, (np.arange(len(places)), column), prod(w for _, w in chosen))
    flat = context.relayout(x, Layout((batch, channels, prod(spatial)), 0))
    return context.relayout(along_axis(context, node, flat, 2, matrix), layout, node)


def _nearest(
    context: Context, node: ir.Node, how: Sampler, places: Floats, spatial: tuple[int, ...]
) -> list[tuple[Cells, Floats]]:
    """Taps of the nearest cells, found in float32 as runtimes do."""
    stored = (value := node.inputs[1]) is not None and value.const_value is not None
    taps = []
    for n, length in zip(places.T, spatial, strict=True):
        x = how.positions(n.astype(np.float32), length)
        if not stored and np.any(np.abs(x - np.floor(x) - 0.5) < TIE):
            raise context.fail(node, "its computed grid has places between two nearest cells")
        taps.append(how.taps(x, length))
    return taps


def _reader(read: Cells, sizes: tuple[int, ...]) -> Callable[[Cells], Cells]:
    """Function that reads spatial cells of (batch, channels, ...)."""

    def run(cells: Cells) -> Cells:
        lead = cells.shape[:2]
        found = cells.reshape(*lead, -1)[..., np.maximum(read, 0)]
        return np.where(read == NOTHING, NOTHING, found).reshape(*lead, *sizes)

    return run


@legalises("AffineGrid")
def affine_grid(context: Context, node: ir.Node) -> Tracked:
    """Every place of a constant grid times a computed transform."""
    theta = context.batch_first(context.computed(node, 0), node)
    sizes = [int(n) for n in np.ravel(context.need_constant(node, 1, "size"))]
    size = sizes[2:]
    rank, corners = len(size), bool(node.attributes.get_int("align_corners", 0))
    if sizes[0] != theta.layout.shape[0]:
        raise context.fail(node, f"its size {sizes} fixes the batch at {sizes[0]}; export with -1")
    if theta.layout.sample != (rank, rank + 1) or (corners and min(size) < 2):
        raise context.fail(node, f"its transform {theta.layout.shape} and size {size} do not fit")
    axes = [np.linspace(-1, 1, n) if corners else (2 * np.arange(n) + 1) / n - 1 for n in size]
    places = np.meshgrid(*axes, indexing="ij")[::-1]
    base = np.stack([*(p.reshape(-1) for p in places), np.ones(prod(size))])
    moved = context.transpose(times_matrix(context, node, theta, base), (0, 2, 1), node)
    return context.relayout(moved, Layout((theta.layout.shape[0], *size, rank), 0), node)
