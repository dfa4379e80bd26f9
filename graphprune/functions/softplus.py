"""The soft rectifier."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphprune.functions.calculus import Floats, T, above, logistic, softplus
from graphprune.functions.scalar import ScalarFunction, outward, outward32
from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Softplus(ScalarFunction):
    """log(1 + exp(z)), its derivative the logistic function; convex everywhere.

    Attributes
    ----------
    threshold
        Above it z itself is taken, as PyTorch does from 20 on: a jump down by
        log(1 + exp(-threshold)), which intervals and lines enclose.
    """

    threshold: float = np.inf

    def value(self, z: T) -> T:
        curve = softplus(z)
        return curve if np.isinf(self.threshold) else above(z, self.threshold, z, curve)

    def slope(self, z: T) -> T:
        curve = logistic(z)
        return curve if np.isinf(self.threshold) else above(z, self.threshold, 1.0, curve)

    def slope_range(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """As everywhere; without a lower end where the value jumps down in between."""
        jumps = (lower <= self.threshold) & (self.threshold < upper)
        return np.where(jumps, -np.inf, self.slope(lower)), self.slope(upper)

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        low, high = softplus(lower), softplus(upper)
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
        if np.isinf(self.threshold):
            return b.op("Softplus", inputs)
        return super().forward(b, *inputs)
