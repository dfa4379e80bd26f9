"""The soft rectifier."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from scipy.special import expit

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register
from graphprune.operators.smooth import Floats, Smooth


@register
@dataclass(frozen=True)
class Softplus(Smooth):
    """log(1 + exp(z)), its derivative the logistic function; convex everywhere."""

    def value(self, z: Floats) -> Floats:
        return np.logaddexp(0.0, z)

    def slope(self, z: Floats) -> Floats:
        result: Floats = expit(z)
        return result

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Softplus", inputs)

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        return b.op("Mul", [rows, b.op("Sigmoid", [z])])
