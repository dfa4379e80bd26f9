"""A sigmoid by division."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, absolute
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Softsign(ScalarFunction):
    """z / (1 + |z|), its derivative 1 / (1 + |z|)^2; convex below 0, concave above."""

    onnx: ClassVar[str] = "Softsign"
    bends: ClassVar[tuple[float, ...]] = (0.0,)
    convex: ClassVar[tuple[bool, ...]] = (True, False)

    def value(self, z: T) -> T:
        return z / (1.0 + absolute(z))

    def slope(self, z: T) -> T:
        part = 1.0 / (1.0 + absolute(z))
        return part * part
