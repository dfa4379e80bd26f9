"""The hyperbolic tangent."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register
from graphprune.operators.smooth import Floats, Smooth


@register
@dataclass(frozen=True)
class Tanh(Smooth):
    """t(z) = tanh(z), t' = 1 - t^2; convex below 0, concave above."""

    inflections: ClassVar[tuple[float, ...]] = (0.0,)

    def value(self, z: Floats) -> Floats:
        return np.tanh(z)

    def slope(self, z: Floats) -> Floats:
        # 1 - tanh^2 cancels far out; 1 / cosh^2 underflows to 0 there, as it should.
        return 1.0 / np.cosh(np.clip(z, -350.0, 350.0)) ** 2

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Tanh", inputs)

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        t = b.op("Tanh", [z])
        return b.op("Mul", [rows, b.op("Sub", [b.scalar(1.0), b.op("Mul", [t, t])])])
