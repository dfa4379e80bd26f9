"""The hyperbolic cosine."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, cosh, sinh
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Cosh(ScalarFunction):
    """cosh(z), its derivative sinh(z); convex, lowest at 0."""

    onnx: ClassVar[str] = "Cosh"
    extrema: ClassVar[tuple[float, ...]] = (0.0,)

    def value(self, z: T) -> T:
        return cosh(z)

    def slope(self, z: T) -> T:
        return sinh(z)
