"""The self-regularised unit of Misra (2019)."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, logistic, softplus, tanh
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Mish(ScalarFunction):
    """z tanh(softplus(z)); concave, convex, concave; lowest at -1.19."""

    bends: ClassVar[tuple[float, ...]] = (-2.256376396360793, 1.4905711794854594)
    convex: ClassVar[tuple[bool, ...]] = (False, True, False)
    extrema: ClassVar[tuple[float, ...]] = (-1.1924312145154952,)

    def value(self, z: T) -> T:
        return z * tanh(softplus(z))

    def slope(self, z: T) -> T:
        s = softplus(z)
        # The derivative of tanh, 1 - tanh^2, cancels far out.
        bell = 4.0 * logistic(2.0 * s) * logistic(-2.0 * s)
        return tanh(s) + z * bell * logistic(z)
