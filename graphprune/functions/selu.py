"""The scaled exponential linear unit."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphprune.functions.calculus import T
from graphprune.functions.elu import Elu
from graphprune.functions.scalar import ScalarFunction
from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Selu(ScalarFunction):
    """g z above 0, g a (exp(z) - 1) below.

    Attributes
    ----------
    alpha, gamma
        a and g, both positive; ONNX's own numbers in float32 unless given.
    """

    alpha: float = float(np.float32(1.6732632423543772))
    gamma: float = float(np.float32(1.0507009873554805))

    bends: ClassVar[tuple[float, ...]] = (0.0,)
    convex: ClassVar[tuple[bool, ...]] = (True, True)

    def value(self, z: T) -> T:
        return self.gamma * Elu(self.alpha).value(z)

    def slope(self, z: T) -> T:
        return self.gamma * Elu(self.alpha).slope(z)

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Selu", inputs, {"alpha": self.alpha, "gamma": self.gamma})
