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
STEPS, COARSE, SAMPLES, ROUNDS = 30, 14, 5, 4
# Points so close to the middle, relatively, are the middle.
NEAR = 1e-4
# Shares of an interval at which the lines of a fan are tight.
PLACES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
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
        With `fan` several (PLACES, ...), each tight at another place, so that mixtures of
        neighbours are nearly all lines that touch the function.
        """
        place = lower / 2 + upper / 2
        if method == "fan":
            share = PLACES.reshape(-1, *(1,) * lower.ndim)
            place = np.clip(lower + share * (upper - lower), lower, upper)
            lower, upper = (np.broadcast_to(end, place.shape) for end in (lower, upper))
        with np.errstate(all="ignore"):
            least, largest = self.slope_range(lower, upper)
            wide = np.where(upper > lower, upper - lower, 1.0)
            chord = (self.value(upper) - self.value(lower)) / wide
            chord = np.clip(np.where(upper > lower, chord, self.slope(lower)), least, largest)
            if method.startswith("fastlin"):
                slopes = np.stack([chord, chord])
            elif method == "alternative":
                slopes = self.slope(np.stack([lower, upper]))
            elif method == "fan":
                slopes = np.clip(
                    self._steepness(place, *self._sampled(lower, place, upper)), least, largest
                )
            else:
                slopes = np.clip(self._best(lower, place, upper), least, largest)
            slopes, offsets = self._beyond(lower, place, upper, self._usable(slopes, chord))
            return slopes[0], offsets[0], slopes[1], offsets[1]

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

    # From here on the first axis is that of the two sides: lines below, lines above.

    def _best(self, lower: Floats, middle: Floats, upper: Floats) -> Floats:
        """Slopes (2, ...) of a line below and one above that are tight at `middle`, a place.

        Chords of two points left and right of it: where sigma is farthest beyond a line of the
        chord's slope, that place becomes one of the two.
        """
        left, right = self._sampled(lower, middle, upper)
        best, least = np.zeros_like(left), np.full(left.shape, np.inf)
        for _ in range(ROUNDS):
            slope = self._steepness(middle, left, right, NEAR * (upper - lower))
            place, height = self._highest(lower, upper, slope)
            height = np.nan_to_num(height + _sides(slope) * slope * middle, nan=np.inf)
            best, least = np.where(height < least, slope, best), np.minimum(height, least)
            left = np.where(place <= middle, place, left)
            right = np.where(place >= middle, place, right)
        return best

    def _steepness(
        self, middle: Floats, left: Floats, right: Floats, near: Floats | float = 0.0
    ) -> Floats:
        """Slopes (2, ...) of chords; of the function where the envelope touches it, a tangent."""
        length = right - left
        chord = (self.value(right) - self.value(left)) / np.where(length > 0, length, 1.0)
        return np.where(length <= near, self.slope(middle), chord)

    def _sampled(self, lower: Floats, middle: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """The points of a few, left and right of the middle, whose chord is best in it."""
        shares = np.linspace(0.0, 1.0, SAMPLES).reshape(-1, *(1,) * lower.ndim)
        x = np.minimum(lower + (middle - lower) * shares, middle)
        y = np.maximum(middle + (upper - middle) * shares, middle)
        f, g = self.value(x)[:, None], self.value(y)[None]
        length = y[None] - x[:, None]
        heights = f + (g - f) * ((middle - x)[:, None] / np.where(length > 0, length, 1.0))
        flat = heights.reshape(1, SAMPLES * SAMPLES, *lower.shape)
        flat = np.nan_to_num(_sides(flat) * flat, nan=-np.inf)
        best = np.argmax(flat, axis=1)
        # None passes beyond the function itself, but for rounding.
        own = _sides(best) * f[-1] + MARGIN * np.abs(f[-1])
        tangent = np.take_along_axis(flat, best[:, None], 1)[:, 0] <= own
        left, right = (
            np.take_along_axis(points[None], index[:, None], 1)[:, 0]
            for points, index in ((x, best // SAMPLES), (y, best % SAMPLES))
        )
        return np.where(tangent, middle, left), np.where(tangent, middle, right)

    def _highest(self, lower: Floats, upper: Floats, slope: Floats) -> tuple[Floats, Floats]:
        """About where sigma is farthest beyond lines of these slopes through 0, and how far."""
        a, b, left = self._tops(lower, upper, slope, COARSE)
        ends = np.broadcast_to(np.stack([lower, upper]), (2, 2, *lower.shape))
        places = np.concatenate([ends, left, a / 2 + b / 2], axis=1)
        heights = self.value(places) - slope[:, None] * places
        heights = np.nan_to_num(_sides(heights) * heights, nan=np.inf)
        best = np.argmax(heights, axis=1)[:, None]
        found: tuple[Floats, Floats] = (
            np.take_along_axis(places, best, 1)[:, 0], np.take_along_axis(heights, best, 1)[:, 0]
        )  # fmt: skip
        return found

    def _tops(
        self, lower: Floats, upper: Floats, slope: Floats, steps: int
    ) -> tuple[Floats, Floats, Floats]:
        """Intervals [a, b] (2, pieces, ...), and the pieces' left ends.

        One of the intervals, the left ends and the upper end holds a place where sigma is farthest
        beyond the line: brackets of bisection on pieces where the difference is concave.
        """
        pieces = list(self.pieces(lower, upper))
        shape = (2, len(pieces), *lower.shape)
        left, right = (np.stack([piece[k] for piece in pieces]) for k in (0, 1))
        convex = np.stack([np.broadcast_to(piece[2], lower.shape) for piece in pieces])
        left = np.broadcast_to(left, shape)
        a, b = left, np.where(np.stack([convex, ~convex]), right, left)
        line, side = slope[:, None], _sides(a)
        for _ in range(steps):
            middle = a + (b - a) / 2
            climbs = side * (self.slope(middle) - line) > 0
            a, b = np.where(climbs, middle, a), np.where(climbs, b, middle)
        return a, b, left

    def _beyond(
        self, lower: Floats, middle: Floats, upper: Floats, slope: Floats
    ) -> tuple[Floats, Floats]:
        """The lines (2, ...) of these slopes, beyond sigma on all of [lower, upper].

        Where a constant lies nearer at `middle`, that constant.
        """
        side = _sides(slope)
        offset = _outward32(side * self._largest(lower, upper, slope), side)
        constant = _outward32(np.stack(self.interval(lower, upper)), side)
        at_middle = slope * middle + offset
        keep = (side * at_middle <= side * constant) & np.isfinite(offset)
        return np.where(keep, slope, 0.0), np.where(keep, offset, constant)

    def _largest(self, lower: Floats, upper: Floats, slope: Floats) -> Floats:
        """Upper bounds of how far sigma is beyond the lines of these slopes through 0."""

        def gap(z: Floats) -> Floats:
            """The height of sigma beyond the line through 0, with the rounding of that."""
            value, line = self.value(z), slope[:, None] * z
            error = MARGIN * (np.abs(value) + np.abs(line) + self.floor)
            found: Floats = _sides(line) * (value - line) + error
            return found

        a, b, left = self._tops(lower, upper, slope, STEPS)
        # At the end of a piece itself the slope may be that of its neighbour.
        tops = [
            gap(z) + np.abs(self.slope(np.nextafter(z, other)) - slope[:, None]) * (b - a)
            for z, other in ((a, b), (b, a))
        ]
        wrong = MARGIN * (2.0 * np.abs(slope) + 1.0) * (upper - lower)
        top = np.where(b > a, np.fmin(*tops) + wrong[:, None], gap(a))
        ends = gap(np.stack([lower, upper]))
        result: Floats = np.concatenate([top, ends, gap(left)], axis=1).max(axis=1)
        return result


def _sides(like: NDArray[np.generic]) -> Floats:
    """-1 and 1 along the first axis."""
    return np.array([-1.0, 1.0]).reshape(2, *(1,) * (like.ndim - 1))


def _outward32(x: Floats, side: Floats) -> Floats:
    """The next float32 beyond `x`, as float64."""
    single = np.nextafter(x.astype(np.float32), (side * np.inf).astype(np.float32))
    return single.astype(np.float64)


def outward(x: Floats, side: int, floor: float = 1.0) -> Floats:
    """`x` moved by the error of a float64 value, up (side 1) or down (-1)."""
    # A number that has overflown on the inner side is at least the largest one.
    inner = np.clip(x, -np.inf if side < 0 else -LARGEST, np.inf if side > 0 else LARGEST)
    return inner + side * MARGIN * (np.abs(inner) + floor)


def outward32(x: Floats, side: int) -> Floats:
    """The next float32 beyond `x`, as float64."""
    with np.errstate(over="ignore"):
        return _outward32(x, np.array(float(side)))
