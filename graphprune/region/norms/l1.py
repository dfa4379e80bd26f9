"""The sum of absolute values."""

from typing import TYPE_CHECKING

import numpy as np

from graphprune.region.norms.base import Floats, Norm, WrittenGain
from graphprune.region.norms.graph import TINY, Graph, largest, unit
from graphprune.region.norms.l2 import L2, LEAST
from graphprune.region.norms.registry import register_norm

if TYPE_CHECKING:
    import onnx_ir as ir

# Halvings towards a multiplier.
HALVINGS = 24
# A steepest step moves the largest of so many elements each: a single one would zigzag (Tramèr and
# Boneh 2019).
SPARSE = 100


class L1Norm(Norm):
    """sum |x_i|."""

    __slots__ = ()

    order = 1.0
    kernel = 1
    certifiable = True
    pace = 0.5
    rounder = L2

    def _lengths(self, sizes: Floats) -> Floats:
        return np.asarray(sizes.sum(axis=1))

    def _dual_lengths(self, sizes: Floats) -> Floats:
        return np.asarray(sizes.max(axis=1, initial=0.0))

    def gain(self, steep: Floats, way: Floats, radius: float) -> tuple[float, Floats]:
        moves, last = _greedy(steep, np.ones(len(steep)), way, radius)
        if last is None:
            return float(steep @ moves), moves
        m = steep[last]
        # Only what is steeper counts: an infinite way times 0 is no number.
        steeper = steep > m
        return float(m * radius + way[steeper] @ (steep[steeper] - m)), moves

    def shortest(self, steep: Floats, way: Floats, fall: float) -> Floats:
        return _greedy(steep, steep, way, fall)[0]

    def write_lengths(self, b: Graph, steps: "ir.Value") -> "ir.Value":
        return b.op("ReduceSum", [b.op("Abs", [steps]), b.ints([1])], {"keepdims": 1})

    def write_steepest(self, b: Graph, gradients: "ir.Value", size: int) -> "ir.Value":
        slopes = b.op("Abs", [gradients])
        steps = b.op("Neg", [gradients])
        highest = b.top(slopes, max(1, size // SPARSE))[0]
        least = b.op("ReduceMin", [highest, b.ints([1])], {"keepdims": 1})
        chosen = b.op("Not", [b.op("Less", [slopes, least])])
        steps = b.op("Where", [chosen, b.op("Sign", [steps]), b.scalar(0.0)])
        return unit(b, self.write_lengths(b, steps), steps)

    def write_projection(
        self, b: Graph, steps: "ir.Value", radius: "ir.Value", size: int
    ) -> "ir.Value":
        """Soft thresholding, the threshold from the sorted sizes (Duchi et al. 2008): the largest
        of those that k elements would need."""
        ordered, _ = b.top(b.op("Abs", [steps]), size)
        excess = b.op("Sub", [b.op("CumSum", [ordered, b.constant(np.array(1))]), radius])
        counts = b.constant(np.arange(1.0, size + 1))
        threshold = b.op("Relu", [largest(b, b.op("Div", [excess, counts]))])
        shrunk = b.op("Relu", [b.op("Sub", [b.op("Abs", [steps]), threshold])])
        return b.op("Mul", [b.op("Sign", [steps]), shrunk])

    def write_gain(
        self, b: Graph, steep: "ir.Value", way: "ir.Value", radius: "ir.Value"
    ) -> WrittenGain:
        """The dual m r + sum way max(steep - m, 0)."""
        multiplier = b.op("Max", [_multiplier(b, steep, way, radius), b.scalar(LEAST)])
        above = b.op("Relu", [b.op("Sub", [steep, multiplier])])
        moves = b.op("Where", [b.op("Greater", [steep, multiplier]), way, b.scalar(0.0)])
        terms = b.op("Mul", [way, above])
        whole = b.op("Mul", [multiplier, radius])
        value = b.op("ReduceSum", [terms, b.ints([2])], {"keepdims": 0})
        return WrittenGain(b.op("Add", [value, b.op("Squeeze", [whole, b.ints([2])])]), moves)

    def _write_moves(
        self, b: Graph, constants: "ir.Value", slopes: "ir.Value", caps: "ir.Value", size: int
    ) -> "ir.Value":
        """Elements in the order of their slopes, each to its cap until the half-space is met."""
        ordered, order = b.top(slopes, size)
        gains = b.op("Mul", [ordered, b.op("GatherElements", [caps, order], {"axis": 1})])
        before = b.op("CumSum", [gains, b.constant(np.array(1))], {"exclusive": 1})
        wanted = b.op("Relu", [b.op("Sub", [b.op("Relu", [constants]), before])])
        wanted = b.op("Min", [wanted, gains])
        sorted_moves = b.op("Div", [wanted, b.op("Max", [ordered, b.scalar(TINY)])])
        none = b.op("Mul", [caps, b.scalar(0.0)])
        moves = b.op("ScatterElements", [none, order, sorted_moves], {"axis": 1})
        return b.op("Min", [moves, caps])


def _multiplier(b: Graph, steep: "ir.Value", way: "ir.Value", radius: "ir.Value") -> "ir.Value":
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


def _greedy(
    steep: Floats, weight: Floats, way: Floats, amount: float
) -> tuple[Floats, np.intp | None]:
    """Moves in falling order of `steep`, each to its way until sum weight moves = amount.

    Returns
    -------
    moves, last
        The element that stopped on its way; None where all went to their ends.
    """
    moves, left = np.zeros(len(way)), amount
    for j in np.argsort(-steep, kind="stable"):
        if weight[j] * way[j] >= left:
            moves[j] = min(max(0.0, left) / weight[j], way[j]) if weight[j] > 0.0 else 0.0
            return moves, j
        moves[j] = way[j]
        left -= weight[j] * way[j]
    return moves, None


L1 = register_norm(L1Norm("l1"))
