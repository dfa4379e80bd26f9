"""Exponential linear units."""

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from graphprune.functions.calculus import T, above, clip, exp, less_one
from graphprune.functions.scalar import ScalarFunction
from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register

# exp(z) - 1 is -1 below this.
FARTHEST = -800.0


@register
@dataclass(frozen=True)
class Elu(ScalarFunction):
    """z above 0, a (exp(z / w) - 1) below: Elu with w = 1, Celu with w = a.

    Attributes
    ----------
    alpha, width
        a and w, both positive.
    """

    alpha: float = 1.0
    width: float = 1.0

    bends: ClassVar[tuple[float, ...]] = (0.0,)
    # The slope may jump at 0, but on either side of it nothing is concave.
    convex: ClassVar[tuple[bool, ...]] = (True, True)

    def value(self, z: T) -> T:
        below = self.alpha * less_one(clip(z / self.width, FARTHEST, 0.0))
        return above(z, 0.0, z, below)

    def slope(self, z: T) -> T:
        below = (self.alpha / self.width) * exp(clip(z / self.width, FARTHEST, 0.0))
        return above(z, 0.0, 1.0, below)

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        if self.width == 1.0:
            return b.op("Elu", inputs, {"alpha": self.alpha})
        if self.width == self.alpha:
            return b.op("Celu", inputs, {"alpha": self.alpha})
        return super().forward(b, *inputs)
