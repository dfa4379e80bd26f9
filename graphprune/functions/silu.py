"""The sigmoid linear unit (Swish)."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, logistic
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Silu(ScalarFunction):
    """z s(z) with the logistic function s; concave, convex, concave; lowest at -1.28."""

    bends: ClassVar[tuple[float, ...]] = (-2.3993572805154677, 2.3993572805154677)
    convex: ClassVar[tuple[bool, ...]] = (False, True, False)
    extrema: ClassVar[tuple[float, ...]] = (-1.2784645427610738,)

    def value(self, z: T) -> T:
        return z * logistic(z)

    def slope(self, z: T) -> T:
        return logistic(z) * (1.0 + z * logistic(-z))
