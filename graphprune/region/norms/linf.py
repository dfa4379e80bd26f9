"""The largest absolute value: a ball is a cube."""

from typing import TYPE_CHECKING

import numpy as np

from graphprune.region.norms.base import Floats, Norm, WrittenGain, fill
from graphprune.region.norms.graph import Graph, largest, uniform_moves
from graphprune.region.norms.registry import register_norm

if TYPE_CHECKING:
    import onnx_ir as ir

# Newton's steps of a projection; most take 3.
NEWTON = 6


class LinfNorm(Norm):
    """max |x_i|."""

    __slots__ = ()

    order = np.inf
    separable = True
    kernel = 0
    certifiable = True

    def _lengths(self, sizes: Floats) -> Floats:
        return np.asarray(sizes.max(axis=1, initial=0.0))

    def _dual_lengths(self, sizes: Floats) -> Floats:
        return np.asarray(sizes.sum(axis=1))

    def gain(self, steep: Floats, way: Floats, radius: float) -> tuple[float, Floats]:
        moves = np.minimum(way, radius)
        return float(steep @ moves), moves

    def shortest(self, steep: Floats, way: Floats, fall: float) -> Floats:
        return fill((steep > 0.0).astype(np.float64), way, steep, fall)

    def write_lengths(self, b: Graph, steps: "ir.Value") -> "ir.Value":
        return largest(b, b.op("Abs", [steps]))

    def write_steepest(self, b: Graph, gradients: "ir.Value", size: int) -> "ir.Value":
        return b.op("Neg", [b.op("Sign", [gradients])])

    def write_projection(
        self, b: Graph, steps: "ir.Value", radius: "ir.Value", size: int
    ) -> "ir.Value":
        return b.op("Min", [b.op("Max", [steps, b.op("Neg", [radius])]), radius])

    def write_gain(
        self, b: Graph, steep: "ir.Value", way: "ir.Value", radius: "ir.Value"
    ) -> WrittenGain:
        moves = b.op("Min", [way, radius])
        falls = b.op("Mul", [steep, moves])
        return WrittenGain(b.op("ReduceSum", [falls, b.ints([2])], {"keepdims": 0}), moves)

    def _write_moves(
        self, b: Graph, constants: "ir.Value", slopes: "ir.Value", caps: "ir.Value", size: int
    ) -> "ir.Value":
        zero = b.scalar(0.0)
        caps = b.op("Where", [b.op("Greater", [slopes, zero]), caps, zero])
        return uniform_moves(b, constants, slopes, caps, None, NEWTON)


LINF = register_norm(LinfNorm("linf"))
