"""The reciprocal."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Reciprocal(ScalarFunction):
    """1 / z on either side of 0, its derivative -1 / z^2; concave below 0, convex above."""

    onnx: ClassVar[str] = "Reciprocal"
    bends: ClassVar[tuple[float, ...]] = (0.0,)
    convex: ClassVar[tuple[bool, ...]] = (False, True)
    poles: ClassVar[tuple[float, ...]] = (0.0,)
    floor: ClassVar[float] = 1e-300

    def value(self, z: T) -> T:
        return 1.0 / z

    def slope(self, z: T) -> T:
        return -1.0 / (z * z)
