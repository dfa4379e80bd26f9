"""The exponential function."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, exp
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Exp(ScalarFunction):
    """exp(z), its own derivative; convex."""

    onnx: ClassVar[str] = "Exp"
    floor: ClassVar[float] = 1e-300

    def value(self, z: T) -> T:
        return exp(z)

    def slope(self, z: T) -> T:
        return exp(z)
