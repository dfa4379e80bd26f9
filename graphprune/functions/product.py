"""Products of two computed values, bounded by McCormick's planes.

On [a, b] x [c, d] these hold (McCormick 1976):

    x y >= c x + a y - a c,    x y >= d x + b y - b d,
    x y <= c x + b y - b c,    x y <= d x + a y - a d.

The two of a side meet in the centre, and every mixture of them holds. The first choice is the one
that is best on the box by itself; alpha-CROWN mixes it with the other.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.functions.calculus import Floats
from graphprune.functions.scalar import outward, outward32
from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register

Bools = NDArray[np.bool_]
Lines = tuple[Floats, Floats, Floats, Floats]

# Relative to its absolute terms, the error of x y - p x - q y: products of float32 are exact.
MARGIN = 2.0**-50


@register
@dataclass(frozen=True)
class Product:
    """x y / 2 in both halves of its value, of a pre-activation whose halves are x and y.

    Attributes
    ----------
    shape
        (2, *sample of x): the halves lie along the first axis.
    """

    shape: tuple[int, ...]

    auxiliary: ClassVar[bool] = True
    piecewise_linear: ClassVar[bool] = False
    interval_suffices: ClassVar[bool] = True

    def on_pairs(self, count: int) -> "Product":
        """The product of so many pairs."""
        return replace(self, shape=(2, count))

    def _halves(self, z: Floats) -> tuple[Floats, Floats]:
        """(B, n) x and y of pre-activations."""
        pairs = z.reshape(-1, 2, prod(self.shape[1:]))
        return pairs[:, 0], pairs[:, 1]

    def value(self, z: Floats) -> Floats:
        x, y = self._halves(z)
        return np.stack([0.5 * x * y] * 2, axis=1).reshape(z.shape)

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        half = b.op("Mul", [inputs[0], b.scalar(0.5)])
        return b.op("Mul", [half, self._exchanged(b, inputs[0])])

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        both = b.op("ReduceSum", [rows, b.ints([1])], {"keepdims": 1})
        half = b.op("Mul", [both, b.scalar(0.5)])
        return b.op("Mul", [self._exchanged(b, z), half])

    @staticmethod
    def _exchanged(b: GraphBuilder, z: ir.Value) -> ir.Value:
        """y and x."""
        return b.op("Gather", [z, b.ints([1, 0])], {"axis": 1})

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]

    def reads(self, used: Bools) -> tuple[Bools, ...]:
        """The neurons that outputs `used` hang on: both of a pair."""
        either = used.reshape(2, -1).any(axis=0)
        return (np.concatenate([either, either]),)

    def slope_range(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        return np.full(lower.shape, -np.inf), np.full(lower.shape, np.inf)

    def undefined(self, lower: Floats, upper: Floats) -> Bools:
        return np.zeros(lower.shape, dtype=bool)

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        (a, c), (b, d) = self._halves(lower), self._halves(upper)
        with np.errstate(all="ignore"):
            corners = np.stack([a * c, a * d, b * c, b * d])
            low = outward(0.5 * np.min(corners, axis=0), -1, 0.0)
            high = outward(0.5 * np.max(corners, axis=0), 1, 0.0)
        return tuple(np.stack([end] * 2, axis=1).reshape(lower.shape) for end in (low, high))  # type: ignore[return-value]

    def lines(self, lower: Floats, upper: Floats, method: str) -> Lines:
        """The halves of a plane below and of one above: one of the two; with `fastlin` their mean
        on either side, with `alternative` the other."""
        with np.errstate(all="ignore"):
            ends = _Ends(*self._halves(lower), *self._halves(upper))
            found: list[Floats] = []
            for side in (-1, 1):
                share = np.where(ends.best(side) ^ (method == "alternative"), 1.0, 0.0)
                p, q = ends.slopes(0.5 if method.startswith("fastlin") else share, side)
                half = outward32(0.5 * ends.offset(p, q, side), side)
                found += [
                    np.stack([p, q], axis=1).reshape(lower.shape),
                    np.stack([half, half], axis=1).reshape(lower.shape),
                ]
            return found[0], found[1], found[2], found[3]


@dataclass(frozen=True, eq=False)
class _Ends:
    """Boxes [a, b] x [c, d] of float32 numbers; arrays (B, n)."""

    a: Floats
    c: Floats
    b: Floats
    d: Floats

    def best(self, side: int) -> Bools:
        """True where the second plane below (side -1) or above (1) is better by itself."""
        m, n = self.a / 2 + self.b / 2, self.c / 2 + self.d / 2
        v, w = self.b / 2 - self.a / 2, self.d / 2 - self.c / 2
        # Whatever is least on the box: v |n + t w| + w |m -+ t v| at t = -1 or 1.
        first, second = (v * np.abs(n + t * w) + w * np.abs(m - side * t * v) for t in (-1, 1))
        better: Bools = second < first
        return better

    def slopes(self, share: Floats | float, side: int) -> tuple[Floats, Floats]:
        """(p, q) of a mixture of the planes, in float32: the `share` of the second one."""
        p = (1.0 - share) * self.c + share * self.d
        ends = (self.a, self.b) if side < 0 else (self.b, self.a)
        q = (1.0 - share) * ends[0] + share * ends[1]
        return p.astype(np.float32).astype(np.float64), q.astype(np.float32).astype(np.float64)

    def offset(self, p: Floats, q: Floats, side: int) -> Floats:
        """The constant of the plane of slopes p, q that lies beyond x y, at a corner."""
        corners = [(x, y) for x in (self.a, self.b) for y in (self.c, self.d)]
        gaps = [
            side * (x * y - p * x - q * y)
            + MARGIN * (np.abs(x * y) + np.abs(p * x) + np.abs(q * y))
            for x, y in corners
        ]
        largest: Floats = np.max(gaps, axis=0)
        return side * largest
