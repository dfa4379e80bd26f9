"""The hyperbolic sine."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, cosh, sinh
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Sinh(ScalarFunction):
    """sinh(z), its derivative cosh(z); concave below 0, convex above."""

    onnx: ClassVar[str] = "Sinh"
    bends: ClassVar[tuple[float, ...]] = (0.0,)
    convex: ClassVar[tuple[bool, ...]] = (False, True)
    floor: ClassVar[float] = 1e-300

    def value(self, z: T) -> T:
        return sinh(z)

    def slope(self, z: T) -> T:
        return cosh(z)
