"""The soft rectifier."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from scipy.special import expit

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register
from graphprune.operators.smooth import Floats, Smooth, outward, outward32


@register
@dataclass(frozen=True)
class Softplus(Smooth):
    """log(1 + exp(z)), its derivative the logistic function; convex everywhere.

    Attributes
    ----------
    threshold
        Above it z itself is taken, as PyTorch does from 20 on: a jump down by
        log(1 + exp(-threshold)), which intervals and lines enclose.
    """

    threshold: float = np.inf

    def value(self, z: Floats) -> Floats:
        return np.where(z > self.threshold, z, np.logaddexp(0.0, z))

    def slope(self, z: Floats) -> Floats:
        result: Floats = np.where(z > self.threshold, 1.0, expit(z))
        return result

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        low, high = np.logaddexp(0.0, lower), np.logaddexp(0.0, upper)
        # Just above the threshold values begin at the threshold again.
        low = np.where(
            upper >= self.threshold, np.minimum(low, np.maximum(lower, self.threshold)), low
        )
        return outward(low, -1), outward(high, 1)

    def lines(
        self, lower: Floats, upper: Floats, method: str
    ) -> tuple[Floats, Floats, Floats, Floats]:
        if np.isinf(self.threshold):
            return super().lines(lower, upper, method)
        # z is below log(1 + exp(z)), by at most the jump.
        below, low, above, high = Softplus().lines(lower, upper, method)
        jump = outward(np.logaddexp(0.0, np.array(-self.threshold)), 1)
        low = np.where(upper >= self.threshold, outward32(low - jump, -1), low)
        return below, low, above, high

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        curve = b.op("Softplus", inputs)
        if np.isinf(self.threshold):
            return curve
        above = b.op("Greater", [inputs[0], b.scalar(self.threshold)])
        return b.op("Where", [above, inputs[0], curve])

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        return b.op("Mul", [rows, b.op("Sigmoid", [z])])
