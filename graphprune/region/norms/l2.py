"""The Euclidean norm."""

from typing import TYPE_CHECKING

import numpy as np

from graphprune.region.norms.base import Floats, Norm, WrittenGain, fill
from graphprune.region.norms.graph import TINY, Graph, largest, uniform_moves, unit
from graphprune.region.norms.registry import register_norm

if TYPE_CHECKING:
    import onnx_ir as ir

# Newton's steps of a projection, where sides of the box are met one by one, and of a multiplier.
NEWTON, MULTIPLIER_NEWTON = 12, 8
# Multipliers below this are not used: 1 / m stays a number.
LEAST = 1e-30


class L2Norm(Norm):
    """sqrt(sum x_i^2)."""

    __slots__ = ()

    order = 2.0
    kernel = 2
    certifiable = True

    def _lengths(self, sizes: Floats) -> Floats:
        return np.asarray(np.sqrt(np.square(sizes).sum(axis=1)))

    _dual_lengths = _lengths

    def gain(self, steep: Floats, way: Floats, radius: float) -> tuple[float, Floats]:
        # Moves min(steep / m, way) of length `radius`: linear in 1 / m^2 once squared.
        squared = fill(steep**2, way**2, np.ones(len(way)), radius**2)
        moves = np.sqrt(squared)
        inside = (moves > 0.0) & (moves < way)
        if not np.any(inside):
            ended = bool(np.all(moves >= way))
            return float(steep @ way if ended else np.linalg.norm(steep) * radius), moves
        m = float(np.max(steep[inside] / moves[inside]))
        moves = np.minimum(steep / m, way)
        return float(0.5 * m * radius**2 + np.sum(moves * (steep - 0.5 * m * moves))), moves

    def shortest(self, steep: Floats, way: Floats, fall: float) -> Floats:
        return fill(steep, way, steep, fall)

    def write_lengths(self, b: Graph, steps: "ir.Value") -> "ir.Value":
        return b.op("ReduceL2", [steps, b.ints([1])], {"keepdims": 1})

    def write_steepest(self, b: Graph, gradients: "ir.Value", size: int) -> "ir.Value":
        # Squares of what is largest must not overflow, nor those of small gradients vanish.
        slopes = b.op("Abs", [gradients])
        steps = b.op("Neg", [gradients])
        steps = b.op("Div", [steps, b.op("Max", [largest(b, slopes), b.scalar(TINY)])])
        return unit(b, self.write_lengths(b, steps), steps)

    def write_projection(
        self, b: Graph, steps: "ir.Value", radius: "ir.Value", size: int
    ) -> "ir.Value":
        far = self.write_lengths(b, steps)
        return b.op("Mul", [steps, b.op("Div", [radius, b.op("Max", [far, radius])])])

    def write_gain(
        self, b: Graph, steep: "ir.Value", way: "ir.Value", radius: "ir.Value"
    ) -> WrittenGain:
        """The dual m r^2 / 2 + sum t (steep - m t / 2) with t = min(steep / m, way)."""
        multiplier = b.op("Max", [_multiplier(b, steep, way, radius), b.scalar(LEAST)])
        half = b.op("Mul", [multiplier, b.scalar(0.5)])
        moves = b.op("Min", [b.op("Div", [steep, multiplier]), way])
        terms = b.op("Mul", [moves, b.op("Sub", [steep, b.op("Mul", [half, moves])])])
        whole = b.op("Mul", [b.op("Mul", [half, radius]), radius])
        value = b.op("ReduceSum", [terms, b.ints([2])], {"keepdims": 0})
        return WrittenGain(b.op("Add", [value, b.op("Squeeze", [whole, b.ints([2])])]), moves)

    def _write_moves(
        self, b: Graph, constants: "ir.Value", slopes: "ir.Value", caps: "ir.Value", size: int
    ) -> "ir.Value":
        return uniform_moves(b, constants, slopes, caps, slopes, NEWTON)


def _multiplier(b: Graph, steep: "ir.Value", way: "ir.Value", radius: "ir.Value") -> "ir.Value":
    """Newton on ||min(steep / m, way)|| = r from above; (B, R, 1)."""
    least, axes = b.scalar(LEAST), b.ints([2])
    square, room = b.op("Mul", [steep, steep]), b.op("Mul", [way, way])
    budget = b.op("Mul", [radius, radius])
    norm = b.op("Sqrt", [b.op("ReduceSum", [square, axes])])
    multiplier = b.op("Div", [norm, b.op("Max", [radius, least])])
    zero = b.scalar(0.0)
    for _ in range(MULTIPLIER_NEWTON):
        stopped = b.op("Greater", [steep, b.op("Mul", [multiplier, way])])
        used = b.op("ReduceSum", [b.op("Where", [stopped, room, zero]), axes])
        free = b.op("ReduceSum", [b.op("Where", [stopped, zero, square]), axes])
        left = b.op("Max", [b.op("Sub", [budget, used]), least])
        better = b.op("Sqrt", [b.op("Div", [free, left])])
        multiplier = b.op("Min", [multiplier, better])
    return multiplier


L2 = register_norm(L2Norm("l2"))
