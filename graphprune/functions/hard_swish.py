"""The piecewise quadratic stand-in for SiLU of MobileNetV3."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, above, absolute, clip
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class HardSwish(ScalarFunction):
    """z min(max(z / 6 + 1/2, 0), 1): 0, a parabola between -3 and 3, z; lowest at -1.5."""

    onnx: ClassVar[str] = "HardSwish"
    bends: ClassVar[tuple[float, ...]] = (-3.0, 3.0)
    convex: ClassVar[tuple[bool, ...]] = (True, True, True)
    extrema: ClassVar[tuple[float, ...]] = (-1.5,)

    def value(self, z: T) -> T:
        return z * clip(z / 6.0 + 0.5, 0.0, 1.0)

    def slope(self, z: T) -> T:
        inside = above(absolute(z), 3.0, 0.0, 1.0)
        return clip(z / 6.0 + 0.5, 0.0, 1.0) + z / 6.0 * inside
