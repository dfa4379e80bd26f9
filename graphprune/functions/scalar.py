"""Base of the scalar functions: sound linear bounds from values, the derivative and its pieces.

For a slope s the tightest offset above sigma on [l, u] is max g with g(z) = sigma(z) - s z. On a
convex piece g is largest at an end. On a concave piece it is largest where sigma'(z) = s, and
bisection of the monotone g' brackets that place by [a, b]; from either end of the bracket the
tangent bounds the maximum,

    g(z) <= min(g(a) + |g'(a)| (b - a), g(b) + |g'(b)| (b - a)),

however short the bisection was. The mirror image holds below. A slope is chosen by its line's value
at the middle m of [l, u]: the best one is that of the chord of two points, left and right of m,
which passes m highest (a tangent where both are m). A slope that is merely good is sound as well:
only the offset carries the proof. Where a constant is better at m it is taken.

Rounding. Float64 values (NumPy, SciPy and the C library) are taken to be within `MARGIN`, `ULPS`
units in the last place, of |sigma| + `floor`; derivatives within `MARGIN` of |sigma'| + 1. A wrong
decision of the bisection then is one where |g'| <= MARGIN (2 |s| + 1), so that the true maximum
exceeds the bracket's bound by at most that times the length of the piece. Pieces and extrema that
are known by rounded numbers move values and slopes by the square of that rounding. The offset is
rounded outward to float32, which is coarser by far.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.functions.calculus import Floats, Formula, T
from graphprune.ir.builder import GraphBuilder

Bools = NDArray[np.bool_]
Piece = tuple[Floats, Floats, "bool | Bools"]

# Relative error granted to float64 values of a function and of the line beside it.
ULPS = 16
MARGIN = ULPS * 2.0**-52
# Bisections for the place of a slope, also where it is about the choice of a line only; samples on
# either side of the middle, and how often the best chord's points are exchanged.
STEPS, COARSE, SAMPLES, ROUNDS = 32, 18, 5, 4
# Points so close to the middle, relatively, are the middle.
NEAR = 1e-4
# Slopes beyond this are of no use.
STEEPEST = 1e30
LARGEST = float(np.finfo(np.float64).max)


class ScalarFunction(ABC):
    """A curved scalar function; a class states its formulas and where it bends.

    Attributes
    ----------
    bends
        Ends of its pieces, rising: between two of them it is convex or concave. Its derivative
        may jump at them.
    convex
        True for every piece that is convex; one more than `bends`.
    extrema
        Where it may have a minimum or maximum between the ends of an interval.
    domain
        It is defined on this closed interval, less the `poles`.
    floor
        Its float64 values are exact relative to this where they are smaller.
    onnx
        The operator that it is written as; the nodes of its formula where there is none.
    """

    auxiliary: ClassVar[bool] = False
    piecewise_linear: ClassVar[bool] = False

    bends: ClassVar[tuple[float, ...]] = ()
    convex: ClassVar[tuple[bool, ...]] = (True,)
    extrema: ClassVar[tuple[float, ...]] = ()
    domain: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    poles: ClassVar[tuple[float, ...]] = ()
    floor: ClassVar[float] = 1.0
    onnx: ClassVar[str] = ""

    @abstractmethod
    def value(self, z: T) -> T:
        """sigma(z), of an array in float64 or as nodes of a graph."""

    @abstractmethod
    def slope(self, z: T) -> T:
        """sigma'(z); on either side's where it jumps."""

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        """Its ONNX operator, or else the nodes of its formula."""
        if self.onnx:
            return b.op(self.onnx, inputs)
        return self.value(Formula(b, inputs[0])).value

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        """`rows` times sigma'(z)."""
        return b.op("Mul", [rows, self.slope(Formula(b, z)).value])

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]

    def undefined(self, lower: Floats, upper: Floats) -> Bools:
        """True where it has no value somewhere in [lower, upper]."""
        outside = ~((lower >= self.domain[0]) & (upper <= self.domain[1]))
        for pole in self.poles:
            outside |= (lower <= pole) & (upper >= pole)
        return outside

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """Image of [lower, upper], rounded outward."""
        with np.errstate(all="ignore"):
            values = [self.value(z) for z in (lower, upper, *self.critical(lower, upper))]
            low, high = np.min(values, axis=0), np.max(values, axis=0)
            return outward(low, -1, self.floor), outward(high, 1, self.floor)

    def slope_range(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """The least and the largest slope on [lower, upper]."""
        with np.errstate(all="ignore"):
            places = [lower, upper]
            for a, b, _ in self.pieces(lower, upper):
                # The slope may jump between two pieces.
                places += [np.minimum(np.nextafter(a, np.inf), b)]
                places += [np.maximum(np.nextafter(b, -np.inf), a)]
            slopes = [self.slope(z) for z in places]
            return np.min(slopes, axis=0), np.max(slopes, axis=0)

    def lines(
        self, lower: Floats, upper: Floats, method: str
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Lines below and above; with `fastlin` both have the slope of the chord.

        With `alternative` the line below has the slope at the lower end, the one above that at
        the upper end: alpha-CROWN mixes the best lines with these, any slope holds with its offset.
        """
        with np.errstate(all="ignore"):
            least, largest = self.slope_range(lower, upper)
            wide = np.where(upper > lower, upper - lower, 1.0)
            chord = (self.value(upper) - self.value(lower)) / wide
            chord = np.clip(np.where(upper > lower, chord, self.slope(lower)), least, largest)
            if method.startswith("fastlin"):
                below = above = chord
            elif method == "alternative":
                below, above = self.slope(lower), self.slope(upper)
            else:
                below, above = (
                    np.clip(self._best(lower, upper, side), least, largest) for side in (-1, 1)
                )
            below, above = self._usable(below, chord), self._usable(above, chord)
            return (
                *self._line(lower, upper, below, -1), *self._line(lower, upper, above, 1)
            )  # fmt: skip

    def critical(self, lower: Floats, upper: Floats) -> Sequence[Floats]:
        """Places in [lower, upper] that hold its extrema there, beside the ends."""
        return [np.clip(place, lower, upper) for place in self.extrema]

    def pieces(self, lower: Floats, upper: Floats) -> Iterator[Piece]:
        """The convex and concave pieces of [lower, upper]: ends, and True where convex.

        A piece that lies outside is an end of [lower, upper].
        """
        borders = pairwise((-np.inf, *self.bends, np.inf))
        for (left, right), convex in zip(borders, self.convex, strict=True):
            yield np.clip(left, lower, upper), np.clip(right, lower, upper), convex

    @staticmethod
    def _usable(slope: Floats, chord: Floats) -> Floats:
        """A slope in float32; the chord's in place of one that is too steep, or 0."""
        for other in (chord, 0.0):
            slope = np.where(np.abs(slope) < STEEPEST, slope, other)
        return slope.astype(np.float32).astype(np.float64)

    def _best(self, lower: Floats, upper: Floats, side: int) -> Floats:
        """The slope of a line above (side 1) or below (-1) that is tight in the middle.

        Chords of two points left and right of it: where sigma is farthest beyond a line of the
        chord's slope, that place becomes one of the two.
        """
        middle = lower / 2 + upper / 2
        left, right = self._sampled(lower, middle, upper, side)
        best, least = np.zeros_like(middle), np.full(middle.shape, np.inf)
        for _ in range(ROUNDS):
            length = right - left
            chord = (self.value(right) - self.value(left)) / np.where(length > 0, length, 1.0)
            # The envelope touches the function in the middle: a tangent.
            near = length <= NEAR * (upper - lower)
            slope = np.where(near, self.slope(middle), chord)
            place, height = self._highest(lower, upper, slope, side)
            height = np.nan_to_num(height + side * slope * middle, nan=np.inf)
            best, least = np.where(height < least, slope, best), np.minimum(height, least)
            left = np.where(place <= middle, place, left)
            right = np.where(place >= middle, place, right)
        return best

    def _sampled(
        self, lower: Floats, middle: Floats, upper: Floats, side: int
    ) -> tuple[Floats, Floats]:
        """The points of a few, left and right of the middle, whose chord passes it highest."""
        shares = np.linspace(0.0, 1.0, SAMPLES).reshape(-1, *(1,) * lower.ndim)
        x = np.minimum(lower + (middle - lower) * shares, middle)
        y = np.maximum(middle + (upper - middle) * shares, middle)
        f, g = side * self.value(x), side * self.value(y)
        length = y[None] - x[:, None]
        slopes = (g[None] - f[:, None]) / np.where(length > 0, length, 1.0)
        heights = np.nan_to_num(f[:, None] + slopes * (middle - x)[:, None], nan=-np.inf)
        flat = heights.reshape(SAMPLES * SAMPLES, *lower.shape)
        best = np.argmax(flat, axis=0)
        # None passes above the function itself, but for rounding.
        own = _picked(flat, best) <= f[-1] + MARGIN * np.abs(f[-1])
        left, right = _picked(x, best // SAMPLES), _picked(y, best % SAMPLES)
        return np.where(own, middle, left), np.where(own, middle, right)

    def _highest(
        self, lower: Floats, upper: Floats, slope: Floats, side: int
    ) -> tuple[Floats, Floats]:
        """About where sigma is farthest beyond the line of a slope through 0, and how far."""
        places = np.stack([
            lower, upper, *(a / 2 + b / 2 for a, b in self._tops(lower, upper, slope, side, COARSE))
        ])  # fmt: skip
        heights = np.nan_to_num(side * (self.value(places) - slope * places), nan=np.inf)
        best = np.argmax(heights, axis=0)
        return _picked(places, best), _picked(heights, best)

    def _tops(
        self, lower: Floats, upper: Floats, slope: Floats, side: int, steps: int
    ) -> Iterator[tuple[Floats, Floats]]:
        """Intervals [a, b], one of which holds a place where sigma is farthest beyond the line.

        Between them all that is not one of the ends: borders of pieces, and the brackets of
        bisection on pieces where the difference is concave.
        """
        for left, right, convex in self.pieces(lower, upper):
            yield left, left
            humped = np.logical_not(convex) if side == 1 else np.asarray(convex)
            if not np.any(humped):
                continue
            a, b = left, np.where(humped, right, left)
            for _ in range(steps):
                middle = a + (b - a) / 2
                climbs = side * (self.slope(middle) - slope) > 0
                a, b = np.where(climbs, middle, a), np.where(climbs, b, middle)
            yield a, b

    def _line(
        self, lower: Floats, upper: Floats, slope: Floats, side: int
    ) -> tuple[Floats, Floats]:
        """The line of a slope with its offset, beyond sigma on all of [lower, upper].

        Where a constant lies nearer in the middle, that constant.
        """
        offset = self._offset(lower, upper, slope, side)
        constant = outward32(self.interval(lower, upper)[(1 + side) // 2], side)
        at_middle = slope * (lower / 2 + upper / 2) + offset
        keep = (side * at_middle <= side * constant) & np.isfinite(offset)
        return np.where(keep, slope, 0.0), np.where(keep, offset, constant)

    def _offset(self, lower: Floats, upper: Floats, slope: Floats, side: int) -> Floats:
        """The offset of the line with this slope, beyond sigma on all of [lower, upper]."""

        def gap(z: Floats) -> Floats:
            """The height of sigma beyond the line through 0, with the rounding of that."""
            value, line = self.value(z), slope * z
            error = MARGIN * (np.abs(value) + np.abs(line) + self.floor)
            found: Floats = side * (value - line) + error
            return found

        largest = np.maximum(gap(lower), gap(upper))
        wrong = MARGIN * (2.0 * np.abs(slope) + 1.0) * (upper - lower)
        for a, b in self._tops(lower, upper, slope, side, STEPS):
            # At the end of a piece itself the slope may be that of its neighbour.
            tops = [
                gap(z) + np.abs(self.slope(np.nextafter(z, other)) - slope) * (b - a)
                for z, other in ((a, b), (b, a))
            ]
            top = np.where(b > a, np.fmin(*tops) + wrong, gap(a))
            largest = np.maximum(largest, top)
        return outward32(side * largest, side)


def _picked(points: Floats, index: NDArray[np.intp]) -> Floats:
    """``points[index[k], k]`` for every k."""
    found: Floats = np.take_along_axis(points, index[None], 0)[0]
    return found


def outward(x: Floats, side: int, floor: float = 1.0) -> Floats:
    """`x` moved by the error of a float64 value, up (side 1) or down (-1)."""
    # A number that has overflown on the inner side is at least the largest one.
    inner = np.clip(x, -np.inf if side < 0 else -LARGEST, np.inf if side > 0 else LARGEST)
    return inner + side * MARGIN * (np.abs(inner) + floor)


def outward32(x: Floats, side: int) -> Floats:
    """The next float32 beyond `x`, as float64."""
    with np.errstate(over="ignore"):
        single = np.nextafter(x.astype(np.float32), np.float32(side * np.inf))
    return single.astype(np.float64)
