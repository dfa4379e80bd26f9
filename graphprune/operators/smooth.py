"""Base of the smooth activations: sound linear bounds from values and the derivative alone.

For a slope s the tightest offset above sigma on [l, u] is max (sigma(z) - s z). The maximum lies at
an end or where sigma'(z) = s, and between two `inflections` sigma' is monotone, so each piece holds
at most one such point, which bisection brackets. The area between line and curve grows with the
line's value at the middle, s m + max (sigma(z) - s z): a maximum of linear functions of s, convex,
so a ternary search over samples finds a good slope. A slope that is merely good is still sound:
only the offset carries the proof.

Rounding: float64 values of sigma (SciPy and the C library) are taken to be within `ULPS` units in
the last place, and a bracket of width w around a stationary point is off by at most
w^2 max |sigma''| / 2 (plus the values' own errors). `MARGIN` covers both, and the offset is
rounded outward to float32, which is coarser by far.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder

Floats = NDArray[np.float64]

# Relative error granted to float64 values of an activation and of the line beside it.
ULPS = 16
MARGIN = ULPS * 2.0**-52
STEPS, SAMPLES, SEARCH = 60, 33, 40


class Smooth(ABC):
    """A smooth scalar activation; subclasses give values, the derivative and the ONNX graph."""

    auxiliary: ClassVar[bool] = False
    piecewise_linear: ClassVar[bool] = False

    # Between neighbours sigma' is monotone, rising and falling in turn.
    inflections: ClassVar[tuple[float, ...]] = ()
    rises_first: ClassVar[bool] = True
    # Bounds of sigma' over the whole line.
    slopes: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @abstractmethod
    def value(self, z: Floats) -> Floats:
        """sigma(z) in float64."""

    @abstractmethod
    def slope(self, z: Floats) -> Floats:
        """sigma'(z) in float64."""

    @abstractmethod
    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        """The ONNX node."""

    @abstractmethod
    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        """`rows` times sigma'(z)."""

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """Image of [lower, upper] of an increasing activation, rounded outward."""
        return outward(self.value(lower), -1), outward(self.value(upper), 1)

    def lines(
        self, lower: Floats, upper: Floats, method: str
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Lines below and above; with `fastlin` both have the slope of the chord.

        With `alternative` the line below has the slope at the lower end, the one above that at
        the upper end.
        """
        if method.startswith("fastlin"):
            wide = np.maximum(upper - lower, 1e-30)
            chord = (self.value(upper) - self.value(lower)) / wide
            chord = np.where(upper > lower, chord, self.slope(lower))
            below = above = self._single(chord)
        elif method == "alternative":
            # Alpha-CROWN mixes the best lines with these: any slope holds with its offset.
            below, above = self._single(self.slope(lower)), self._single(self.slope(upper))
        else:
            below, above = self._best(lower, upper, -1), self._best(lower, upper, 1)
        return (
            below, self._offset(lower, upper, below, -1),
            above, self._offset(lower, upper, above, 1),
        )  # fmt: skip

    def _single(self, slope: Floats) -> Floats:
        return np.clip(slope, *self.slopes).astype(np.float32).astype(np.float64)

    def _best(self, lower: Floats, upper: Floats, side: int) -> Floats:
        """The slope of a line above (side 1) or below (-1) that is tight in the middle."""
        part = np.linspace(0.0, 1.0, SAMPLES).reshape(-1, *(1,) * lower.ndim)
        z = lower + (upper - lower) * part
        centred, values = z - (lower + upper) / 2, side * self.value(z)
        low = np.full(lower.shape, min(side * s for s in self.slopes))
        high = np.full(lower.shape, max(side * s for s in self.slopes))
        for _ in range(SEARCH):
            a, b = low + (high - low) / 3, high - (high - low) / 3
            at_a = np.max(values - a * centred, axis=0)
            at_b = np.max(values - b * centred, axis=0)
            low, high = np.where(at_a > at_b, a, low), np.where(at_a > at_b, high, b)
        return self._single(side * (low + high) / 2)

    def _offset(self, lower: Floats, upper: Floats, slope: Floats, side: int) -> Floats:
        """The offset of the line with this slope, beyond sigma on all of [lower, upper]."""
        points = [lower, upper]
        ends = (-np.inf, *self.inflections, np.inf)
        for piece in range(len(ends) - 1):
            a = np.clip(lower, ends[piece], ends[piece + 1])
            b = np.clip(upper, ends[piece], ends[piece + 1])
            rising = (piece % 2 == 0) == self.rises_first
            for _ in range(STEPS):
                middle = a + (b - a) / 2
                past = (self.slope(middle) > slope) == rising
                a, b = np.where(past, a, middle), np.where(past, middle, b)
            # Clipping to a piece outside [lower, upper] leaves one of its ends: harmless.
            points.append(np.clip(a + (b - a) / 2, lower, upper))
        gaps = []
        for z in points:
            value, line = self.value(z), slope * z
            gaps.append(side * (value - line) + MARGIN * (np.abs(value) + np.abs(line) + 1.0))
        return outward32(side * np.max(gaps, axis=0), side)


def outward(x: Floats, side: int) -> Floats:
    """`x` moved by the error of a float64 value, up (side 1) or down (-1)."""
    return x + side * MARGIN * (np.abs(x) + 1.0)


def outward32(x: Floats, side: int) -> Floats:
    """The next float32 beyond `x`, as float64."""
    single = np.nextafter(x.astype(np.float32), np.float32(side * np.inf))
    return single.astype(np.float64)
