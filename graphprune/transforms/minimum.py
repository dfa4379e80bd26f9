"""The least value of rows over a box, or over a ball within it, with what its rounding scales with.

A row a on the ball ``||x - c|| <= r`` within the box takes its least value at

    a . c - max{ sum |a_j| t_j : 0 <= t_j <= d_j, ||t|| <= r },

d_j the way from c to the box's side that lies against a_j. The maximum is at most its Lagrange
dual at any multiplier m >= 0,

    l2: m r^2 / 2 + sum t_j (|a_j| - m t_j / 2),  t_j = min(|a_j| / m, d_j);
    l1: m r + sum d_j max(|a_j| - m, 0),

so an inexact multiplier costs tightness, never soundness.
"""

from dataclasses import dataclass

import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.region import Norm
from graphprune.transforms.rounding import FLOOR

# Steps towards the multiplier: Newton's for l2, halvings for l1.
NEWTON, HALVINGS = 8, 24
# Roundings of one term beside those of a sum.
ROUNDINGS = 24
# Multipliers below this are not used: 1 / m stays a number.
LEAST = 1e-30


@dataclass(frozen=True)
class Minimum:
    """A lower bound `value` (B, R), before rounding; its absolute terms `size` (B, R); where the
    minimum is, `point` (B, R, n)."""

    value: ir.Value
    size: ir.Value
    point: ir.Value


@dataclass(frozen=True)
class Box:
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


def over_box(b: GraphBuilder, rows: Rows, box: Box) -> Minimum:
    """The exact minimum over the box, at a corner."""
    value = b.op("Add", [dot(b, rows.positive, box.low), dot(b, rows.negative, box.high)])
    largest = b.op("Max", [b.op("Abs", [box.low]), b.op("Abs", [box.high])])
    size = dot(b, rows.absolute, b.op("Add", [largest, b.scalar(FLOOR)]))
    against = b.op("GreaterOrEqual", [rows.whole, b.scalar(0.0)])
    return Minimum(value, size, b.op("Where", [against, box.low, box.high]))


def over_ball(
    b: GraphBuilder, rows: Rows, box: Box, center: ir.Value, radius: ir.Value, norm: Norm
) -> Minimum:
    """A lower bound over the ball around `center` (B, 1, n) within the box, `radius` (B, 1, 1)."""
    down = b.op("GreaterOrEqual", [rows.whole, b.scalar(0.0)])
    to_low, to_high = b.op("Sub", [center, box.low]), b.op("Sub", [box.high, center])
    # A center outside the box, by rounding, is none of the ball's points.
    none = b.scalar(0.0)
    way = b.op("Max", [b.op("Where", [down, to_low, to_high]), none])
    steep = rows.absolute
    find = _l2_multiplier if norm == "l2" else _l1_multiplier
    multiplier = b.op("Max", [find(b, steep, way, radius), b.scalar(LEAST)])
    if norm == "l2":
        half = b.op("Mul", [multiplier, b.scalar(0.5)])
        t = b.op("Min", [b.op("Div", [steep, multiplier]), way])
        terms = b.op("Mul", [t, b.op("Sub", [steep, b.op("Mul", [half, t])])])
        whole = b.op("Mul", [b.op("Mul", [half, radius]), radius])
    else:
        above = b.op("Relu", [b.op("Sub", [steep, multiplier])])
        t = b.op("Where", [b.op("Greater", [steep, multiplier]), way, none])
        terms = b.op("Mul", [way, above])
        whole = b.op("Mul", [multiplier, radius])
    gain = b.op("Add", [_sum(b, terms), b.op("Squeeze", [whole, b.ints([2])])])
    value = b.op("Sub", [dot(b, rows.whole, center), gain])
    # Every way is off in proportion to the numbers it is the difference of.
    reach = b.op("Max", [b.op("Abs", [box.low]), b.op("Abs", [box.high])])
    scale = b.op("Add", [b.op("Add", [b.op("Abs", [center]), reach]), b.scalar(FLOOR)])
    size = b.op("Add", [b.op("Mul", [dot(b, steep, scale), b.scalar(4.0)]), gain])
    signed = b.op("Where", [down, b.op("Neg", [t]), t])
    return Minimum(value, size, b.op("Add", [center, signed]))


def _l2_multiplier(b: GraphBuilder, steep: ir.Value, way: ir.Value, radius: ir.Value) -> ir.Value:
    """Newton on ||min(|a| / m, d)|| = r from above; (B, R, 1)."""
    least, axes = b.scalar(LEAST), b.ints([2])
    square, room = b.op("Mul", [steep, steep]), b.op("Mul", [way, way])
    budget = b.op("Mul", [radius, radius])
    norm = b.op("Sqrt", [b.op("ReduceSum", [square, axes])])
    multiplier = b.op("Div", [norm, b.op("Max", [radius, least])])
    zero = b.scalar(0.0)
    for _ in range(NEWTON):
        stopped = b.op("Greater", [steep, b.op("Mul", [multiplier, way])])
        used = b.op("ReduceSum", [b.op("Where", [stopped, room, zero]), axes])
        free = b.op("ReduceSum", [b.op("Where", [stopped, zero, square]), axes])
        left = b.op("Max", [b.op("Sub", [budget, used]), least])
        better = b.op("Sqrt", [b.op("Div", [free, left])])
        multiplier = b.op("Min", [multiplier, better])
    return multiplier


def _l1_multiplier(b: GraphBuilder, steep: ir.Value, way: ir.Value, radius: ir.Value) -> ir.Value:
    """Where the ways of steeper elements add up to r, by bisection; (B, R, 1)."""
    axes, half = b.ints([2]), b.scalar(0.5)
    high = b.op("ReduceMax", [steep], {"axes": (2,)})
    zero = b.scalar(0.0)
    low = b.op("Mul", [high, zero])
    for _ in range(HALVINGS):
        middle = b.op("Mul", [b.op("Add", [low, high]), half])
        steeper = b.op("Greater", [steep, middle])
        used = b.op("ReduceSum", [b.op("Where", [steeper, way, zero]), axes])
        over = b.op("Greater", [used, radius])
        low, high = b.op("Where", [over, middle, low]), b.op("Where", [over, high, middle])
    return high


def dot(b: GraphBuilder, rows: ir.Value, vector: ir.Value) -> ir.Value:
    """(B, R, n) . (B, 1, n), as (B, R)."""
    column = b.op("Transpose", [vector], {"perm": (0, 2, 1)})
    return b.op("Squeeze", [b.op("MatMul", [rows, column]), b.ints([2])])


def _sum(b: GraphBuilder, terms: ir.Value) -> ir.Value:
    return b.op("ReduceSum", [terms, b.ints([2])], {"keepdims": 0})
