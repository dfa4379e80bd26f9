"""The Gaussian error linear unit, exact and by its tanh approximation."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from math import pi, sqrt
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from scipy.special import expit, ndtr

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register
from graphprune.operators.smooth import Floats, Smooth, outward

# The ONNX operator is younger than the opset graphs are written in.
GELU_OPSET = 20
CUBE, ROOT = 0.044715, sqrt(2.0 / pi)
# Cubes for which the tanh form bends as Gelu does.
CUBES = (0.04, 0.05)


class _Gelu(Smooth):
    """Neither monotone nor S-shaped: concave, convex between the inflections, concave again."""

    approximate: ClassVar[str]

    slopes: ClassVar[tuple[float, float]] = (-0.12899307, 1.12899307)
    rises_first: ClassVar[bool] = False

    @property
    @abstractmethod
    def lowest(self) -> tuple[float, float]:
        """Where the minimum lies, and its value."""

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        ends = np.stack([self.value(lower), self.value(upper)])
        place, least = self.lowest
        dips = (lower <= place) & (upper >= place)
        low = np.where(dips, least, ends.min(axis=0))
        return outward(low, -1), outward(ends.max(axis=0), 1)

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        b.require(GELU_OPSET)
        return b.op("Gelu", inputs, {"approximate": self.approximate})


def _combine(b: GraphBuilder, op_type: str, *parts: ir.Value | float) -> ir.Value:
    return b.op(op_type, [b.scalar(p) if isinstance(p, float) else p for p in parts])


@register
@dataclass(frozen=True)
class Gelu(_Gelu):
    """z P(z) with the normal distribution function P; its derivative is P(z) + z p(z)."""

    approximate: ClassVar[str] = "none"
    lowest: ClassVar[tuple[float, float]] = (-0.7517915246935644, -0.16997120747990366)
    inflections: ClassVar[tuple[float, ...]] = (-sqrt(2.0), sqrt(2.0))

    def value(self, z: Floats) -> Floats:
        result: Floats = z * ndtr(z)
        return result

    def slope(self, z: Floats) -> Floats:
        density = np.exp(-np.minimum(z * z, 1400.0) / 2) / sqrt(2 * pi)
        result: Floats = ndtr(z) + z * density
        return result

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        erf = b.op("Erf", [_combine(b, "Mul", z, sqrt(0.5))])
        normal = _combine(b, "Mul", _combine(b, "Add", erf, 1.0), 0.5)
        square = _combine(b, "Mul", _combine(b, "Mul", z, z), -0.5)
        density = _combine(b, "Mul", b.op("Exp", [square]), 1.0 / sqrt(2 * pi))
        slope = _combine(b, "Add", normal, _combine(b, "Mul", z, density))
        return _combine(b, "Mul", rows, slope)


@register
@dataclass(frozen=True)
class GeluTanh(_Gelu):
    """z t(2 r (z + c z^3)) with the logistic function t and r = sqrt(2/pi).

    Attributes
    ----------
    cube
        c, within `CUBES`: 0.044715, or what a file's rounded constants make of it.
    """

    cube: float = CUBE

    approximate: ClassVar[str] = "tanh"

    @property
    def lowest(self) -> tuple[float, float]:
        place = _roots(self.cube)[0]
        return place, float(self.value(np.array(place)))

    @property
    def inflections(self) -> tuple[float, ...]:  # type: ignore[override]
        turn = _roots(self.cube)[1]
        return -turn, turn

    @property
    def slopes(self) -> tuple[float, float]:  # type: ignore[override]
        steepest = float(self.slope(np.array(self.inflections[1]))) + 1e-9
        return 1.0 - steepest, steepest

    def value(self, z: Floats) -> Floats:
        # Beyond 40 the logistic function is 0 or 1; the cube must not overflow.
        near = np.clip(z, -40.0, 40.0)
        result: Floats = z * expit(2 * ROOT * (near + self.cube * near**3))
        return result

    def slope(self, z: Floats) -> Floats:
        near = np.clip(z, -40.0, 40.0)
        u = 2 * ROOT * (near + self.cube * near**3)
        inner = 2 * ROOT * (1 + 3 * self.cube * near**2)
        result: Floats = expit(u) + near * expit(u) * expit(-u) * inner
        return result

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        if self.cube == CUBE:
            return super().forward(b, *inputs)
        (z,) = inputs
        cubic = _combine(b, "Add", _combine(b, "Mul", _combine(b, "Mul", z, z), self.cube), 1.0)
        u = _combine(b, "Mul", _combine(b, "Mul", z, cubic), ROOT)
        curve = _combine(b, "Add", b.op("Tanh", [u]), 1.0)
        return _combine(b, "Mul", _combine(b, "Mul", z, 0.5), curve)

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        square = _combine(b, "Mul", z, z)
        cubic = _combine(b, "Add", _combine(b, "Mul", square, self.cube), 1.0)
        s = b.op("Sigmoid", [_combine(b, "Mul", _combine(b, "Mul", z, cubic), 2 * ROOT)])
        triple = _combine(b, "Add", _combine(b, "Mul", square, 3 * self.cube), 1.0)
        inner = _combine(b, "Mul", _combine(b, "Mul", z, triple), 2 * ROOT)
        bell = _combine(b, "Mul", s, _combine(b, "Sub", 1.0, s))
        return _combine(b, "Mul", rows, _combine(b, "Add", s, _combine(b, "Mul", bell, inner)))


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
