"""The error function."""

from dataclasses import dataclass
from math import pi, sqrt
from typing import ClassVar

from graphprune.functions.calculus import T, clip, erf, exp
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Erf(ScalarFunction):
    """erf(z), its derivative 2 / sqrt(pi) exp(-z^2); convex below 0, concave above."""

    onnx: ClassVar[str] = "Erf"
    bends: ClassVar[tuple[float, ...]] = (0.0,)
    convex: ClassVar[tuple[bool, ...]] = (True, False)

    def value(self, z: T) -> T:
        return erf(z)

    def slope(self, z: T) -> T:
        near = clip(z, -40.0, 40.0)
        return 2.0 / sqrt(pi) * exp(-(near * near))
