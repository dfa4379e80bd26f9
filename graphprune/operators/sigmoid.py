"""The logistic function."""

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir
from scipy.special import expit

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register
from graphprune.operators.smooth import Floats, Smooth


@register
@dataclass(frozen=True)
class Sigmoid(Smooth):
    """s(z) = 1 / (1 + exp(-z)), s' = s (1 - s); convex below 0, concave above."""

    inflections: ClassVar[tuple[float, ...]] = (0.0,)
    slopes: ClassVar[tuple[float, float]] = (0.0, 0.25)

    def value(self, z: Floats) -> Floats:
        result: Floats = expit(z)
        return result

    def slope(self, z: Floats) -> Floats:
        result: Floats = expit(z) * expit(-z)
        return result

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Sigmoid", inputs)

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        s = b.op("Sigmoid", [z])
        return b.op("Mul", [rows, b.op("Mul", [s, b.op("Sub", [b.scalar(1.0), s])])])
