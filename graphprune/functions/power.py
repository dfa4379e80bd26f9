"""Constant powers."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import numpy as np

from graphprune.functions.calculus import Floats, T, power
from graphprune.functions.scalar import ScalarFunction
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Power(ScalarFunction):
    """z^p with a constant p other than 0 and 1: z >= 0 unless p is an integer, z != 0 for p < 0.

    Attributes
    ----------
    exponent
        p; 2 is the square.
    auxiliary
        Legalisation made it (of a product): not a neuron of the source.
    """

    exponent: float = 2.0
    auxiliary: bool = False  # type: ignore[misc]

    bends: ClassVar[tuple[float, ...]] = (0.0,)
    extrema: ClassVar[tuple[float, ...]] = (0.0,)

    @property
    def convex(self) -> tuple[bool, ...]:  # type: ignore[override]
        """(p (p - 1)) z^(p - 2), as on the right of 0 so on its left if p is even."""
        right = self.exponent * (self.exponent - 1.0) > 0
        return (right if self.exponent % 2 == 0 else not right), right

    @property
    def domain(self) -> tuple[float, float]:  # type: ignore[override]
        return (-inf if self.exponent % 1 == 0 else 0.0), inf

    @property
    def poles(self) -> tuple[float, ...]:  # type: ignore[override]
        return (0.0,) if self.exponent < 0 else ()

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """Image of [lower, upper], rounded outward, not below 0 where no value is."""
        low, high = super().interval(lower, upper)
        return (low if self.exponent % 2 == 1 else np.maximum(low, 0.0)), high

    def value(self, z: T) -> T:
        return power(z, self.exponent)

    def slope(self, z: T) -> T:
        return self.exponent * power(z, self.exponent - 1.0)
