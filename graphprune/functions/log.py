"""The natural logarithm."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from graphprune.functions.calculus import T, log
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Log(ScalarFunction):
    """log(z) for z > 0, its derivative 1 / z; concave."""

    onnx: ClassVar[str] = "Log"
    convex: ClassVar[tuple[bool, ...]] = (False,)
    domain: ClassVar[tuple[float, float]] = (0.0, inf)
    poles: ClassVar[tuple[float, ...]] = (0.0,)

    def value(self, z: T) -> T:
        return log(z)

    def slope(self, z: T) -> T:
        return 1.0 / z
