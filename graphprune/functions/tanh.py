"""The hyperbolic tangent."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, logistic, tanh
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Tanh(ScalarFunction):
    """t(z) = tanh(z), t' = 1 - t^2; convex below 0, concave above."""

    onnx: ClassVar[str] = "Tanh"
    bends: ClassVar[tuple[float, ...]] = (0.0,)
    convex: ClassVar[tuple[bool, ...]] = (True, False)

    def value(self, z: T) -> T:
        return tanh(z)

    def slope(self, z: T) -> T:
        return 4.0 * logistic(2.0 * z) * logistic(-2.0 * z)
