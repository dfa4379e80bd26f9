"""The cosine."""

from dataclasses import dataclass
from math import pi
from typing import ClassVar

from graphprune.functions.calculus import T, cos, sin
from graphprune.functions.periodic import Periodic
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Cos(Periodic):
    """cos(z), its derivative -sin(z); concave where it is positive, convex where it is negative."""

    onnx: ClassVar[str] = "Cos"
    phase: ClassVar[float] = pi / 2

    def value(self, z: T) -> T:
        return cos(z)

    def slope(self, z: T) -> T:
        return -sin(z)
