"""The least value of rows over a box, or over a ball within it, with what its rounding scales with.

A row a on the ball ``||x - c|| <= r`` within the box takes its least value at

    a . c - max{ sum |a_j| t_j : 0 <= t_j <= d_j, ||t|| <= r },

d_j the way from c to the box's side that lies against a_j. The norm writes an upper bound of the
maximum: `write_gain`.
"""

from dataclasses import dataclass

import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.region import Norm
from graphprune.transforms.rounding import FLOOR

# Roundings of one term beside those of a sum.
ROUNDINGS = 24


@dataclass(frozen=True)
class WrittenMinimum:
    """A lower bound `value` (B, R), before rounding; its absolute terms `size` (B, R); where the
    minimum is, `point` (B, R, n)."""

    value: ir.Value
    size: ir.Value
    point: ir.Value


@dataclass(frozen=True)
class Sides:
    """Its sides, as rows (B, 1, n)."""

    low: ir.Value
    high: ir.Value


@dataclass(frozen=True)
class Rows:
    """Rows (B, R, n) with their positive and negative parts and absolute values."""

    whole: ir.Value
    positive: ir.Value
    negative: ir.Value
    absolute: ir.Value

    @classmethod
    def of(cls, b: GraphBuilder, rows: ir.Value) -> "Rows":
        positive = b.op("Relu", [rows])
        return cls(rows, positive, b.op("Sub", [rows, positive]), b.op("Abs", [rows]))


def over_box(b: GraphBuilder, rows: Rows, box: Sides) -> WrittenMinimum:
    """The exact minimum over the box, at a corner."""
    value = b.op("Add", [dot(b, rows.positive, box.low), dot(b, rows.negative, box.high)])
    largest = b.op("Max", [b.op("Abs", [box.low]), b.op("Abs", [box.high])])
    size = dot(b, rows.absolute, b.op("Add", [largest, b.scalar(FLOOR)]))
    against = b.op("GreaterOrEqual", [rows.whole, b.scalar(0.0)])
    return WrittenMinimum(value, size, b.op("Where", [against, box.low, box.high]))


def over_ball(
    b: GraphBuilder, rows: Rows, box: Sides, center: ir.Value, radius: ir.Value, norm: Norm
) -> WrittenMinimum:
    """A lower bound over the ball around `center` (B, 1, n) within the box, `radius` (B, 1, 1)."""
    down = b.op("GreaterOrEqual", [rows.whole, b.scalar(0.0)])
    to_low, to_high = b.op("Sub", [center, box.low]), b.op("Sub", [box.high, center])
    # A center outside the box, by rounding, is none of the ball's points.
    none = b.scalar(0.0)
    way = b.op("Max", [b.op("Where", [down, to_low, to_high]), none])
    steep = rows.absolute
    found = norm.write_gain(b, steep, way, radius)
    gain, t = found.value, found.moves
    value = b.op("Sub", [dot(b, rows.whole, center), gain])
    # Every way is off in proportion to the numbers it is the difference of.
    reach = b.op("Max", [b.op("Abs", [box.low]), b.op("Abs", [box.high])])
    scale = b.op("Add", [b.op("Add", [b.op("Abs", [center]), reach]), b.scalar(FLOOR)])
    size = b.op("Add", [b.op("Mul", [dot(b, steep, scale), b.scalar(4.0)]), gain])
    signed = b.op("Where", [down, b.op("Neg", [t]), t])
    return WrittenMinimum(value, size, b.op("Add", [center, signed]))


def dot(b: GraphBuilder, rows: ir.Value, vector: ir.Value) -> ir.Value:
    """(B, R, n) . (B, 1, n), as (B, R)."""
    column = b.op("Transpose", [vector], {"perm": (0, 2, 1)})
    return b.op("Squeeze", [b.op("MatMul", [rows, column]), b.ints([2])])
