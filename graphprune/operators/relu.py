"""The rectified linear unit."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register

Floats = NDArray[np.float64]


@register
@dataclass(frozen=True)
class Relu:
    """max(z, 0)."""

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Relu", inputs)

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]

    def value(self, z: Floats) -> Floats:
        return np.maximum(z, 0.0)

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        zero = b.scalar(0.0)
        return b.op("Where", [b.op("Greater", [z, zero]), rows, zero])

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        return np.maximum(lower, 0.0), np.maximum(upper, 0.0)
