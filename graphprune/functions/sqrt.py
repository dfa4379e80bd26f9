"""The square root."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from graphprune.functions.calculus import T, sqrt
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Sqrt(ScalarFunction):
    """sqrt(z) for z >= 0, its derivative 1 / (2 sqrt(z)); concave."""

    onnx: ClassVar[str] = "Sqrt"
    convex: ClassVar[tuple[bool, ...]] = (False,)
    domain: ClassVar[tuple[float, float]] = (0.0, inf)
    floor: ClassVar[float] = 1e-300

    def value(self, z: T) -> T:
        return sqrt(z)

    def slope(self, z: T) -> T:
        return 0.5 / sqrt(z)
