"""The sine."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, cos, sin
from graphprune.functions.periodic import Periodic
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Sin(Periodic):
    """sin(z), its derivative cos(z); concave where it is positive, convex where it is negative."""

    onnx: ClassVar[str] = "Sin"
    phase: ClassVar[float] = 0.0

    def value(self, z: T) -> T:
        return sin(z)

    def slope(self, z: T) -> T:
        return cos(z)
