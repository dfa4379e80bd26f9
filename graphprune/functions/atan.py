"""The arc tangent."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, atan
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Atan(ScalarFunction):
    """atan(z), its derivative 1 / (1 + z^2); convex below 0, concave above."""

    onnx: ClassVar[str] = "Atan"
    bends: ClassVar[tuple[float, ...]] = (0.0,)
    convex: ClassVar[tuple[bool, ...]] = (True, False)

    def value(self, z: T) -> T:
        return atan(z)

    def slope(self, z: T) -> T:
        return 1.0 / (1.0 + z * z)
