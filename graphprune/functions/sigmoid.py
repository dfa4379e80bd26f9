"""The logistic function."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, logistic
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Sigmoid(ScalarFunction):
    """s(z) = 1 / (1 + exp(-z)), s' = s (1 - s); convex below 0, concave above."""

    onnx: ClassVar[str] = "Sigmoid"
    bends: ClassVar[tuple[float, ...]] = (0.0,)
    convex: ClassVar[tuple[bool, ...]] = (True, False)

    def value(self, z: T) -> T:
        return logistic(z)

    def slope(self, z: T) -> T:
        return logistic(z) * logistic(-z)
