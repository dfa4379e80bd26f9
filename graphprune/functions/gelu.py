"""The Gaussian error linear unit, exact and by its tanh approximation."""

from dataclasses import dataclass
from functools import cache
from math import pi, sqrt
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from graphprune.functions.calculus import Formula, T, clip, exp, logistic, normal, tanh
from graphprune.functions.scalar import ScalarFunction
from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register

# The ONNX operator is younger than the opset graphs are written in.
GELU_OPSET = 20
CUBE, ROOT = 0.044715, sqrt(2.0 / pi)
# Cubes for which the tanh form bends as Gelu does.
CUBES = (0.04, 0.05)
# Beyond this the distribution functions are 0 or 1; a cube or square must not overflow.
NEAR = 40.0


@register
@dataclass(frozen=True)
class Gelu(ScalarFunction):
    """z P(z) with the normal distribution function P; its derivative is P(z) + z p(z)."""

    bends: ClassVar[tuple[float, ...]] = (-sqrt(2.0), sqrt(2.0))
    convex: ClassVar[tuple[bool, ...]] = (False, True, False)
    extrema: ClassVar[tuple[float, ...]] = (-0.7517915246935644,)

    def value(self, z: T) -> T:
        return z * normal(z)

    def slope(self, z: T) -> T:
        near = clip(z, -NEAR, NEAR)
        return normal(z) + near * exp(-0.5 * (near * near)) * (1.0 / sqrt(2.0 * pi))

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        b.require(GELU_OPSET)
        return b.op("Gelu", inputs, {"approximate": "none"})


@register
@dataclass(frozen=True)
class GeluTanh(ScalarFunction):
    """z t(2 r (z + c z^3)) with the logistic function t and r = sqrt(2/pi).

    Attributes
    ----------
    cube
        c, within `CUBES`: 0.044715, or what a file's rounded constants make of it.
    """

    cube: float = CUBE

    convex: ClassVar[tuple[bool, ...]] = (False, True, False)

    @property
    def bends(self) -> tuple[float, ...]:  # type: ignore[override]
        turn = _roots(self.cube)[1]
        return -turn, turn

    @property
    def extrema(self) -> tuple[float, ...]:  # type: ignore[override]
        return (_roots(self.cube)[0],)

    def value(self, z: T) -> T:
        near = clip(z, -NEAR, NEAR)
        return z * logistic((2.0 * ROOT) * near * (1.0 + self.cube * (near * near)))

    def slope(self, z: T) -> T:
        near = clip(z, -NEAR, NEAR)
        square = near * near
        u = (2.0 * ROOT) * near * (1.0 + self.cube * square)
        inner = (2.0 * ROOT) * (1.0 + (3.0 * self.cube) * square)
        return logistic(u) + near * logistic(u) * logistic(-u) * inner

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        if self.cube != CUBE:  # as exporters write it, so that it is read back
            z = Formula(b, inputs[0])
            curve = tanh(ROOT * (z * (1.0 + self.cube * (z * z))))
            return (0.5 * z * (curve + 1.0)).value
        b.require(GELU_OPSET)
        return b.op("Gelu", inputs, {"approximate": "tanh"})


@cache
def _roots(cube: float) -> tuple[float, float]:
    """Where the slope of `GeluTanh` is 0, and where it is largest."""
    from scipy.optimize import brentq

    def bend(z: float) -> float:
        """The second derivative over t (1 - t), with t = expit(u)."""
        u = 2 * ROOT * (z + cube * z**3)
        first, second = 2 * ROOT * (1 + 3 * cube * z**2), 12 * ROOT * cube * z
        return float(2 * first + z * (-np.tanh(u / 2) * first**2 + second))

    curve = GeluTanh(cube)
    lowest = brentq(lambda z: float(curve.slope(np.array(z))), -1.0, -0.5, xtol=1e-15)
    return float(lowest), float(brentq(bend, 1.0, 2.0, xtol=1e-15))
