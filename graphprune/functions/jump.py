"""Base of functions that jump: constant in between, never falling."""

from typing import ClassVar

import numpy as np

from graphprune.functions.calculus import Floats, T
from graphprune.functions.scalar import ScalarFunction, outward32


class Jump(ScalarFunction):
    """A step function; a class states its value.

    A distance to the boundary of a network with jumps is an infimum: no point need attain it. The
    derivative is that of a curve that rises alike ("straight through", Bengio et al. 2013): the
    true one, 0 nearly everywhere, would lead no attack anywhere.
    """

    jumps: ClassVar[bool] = True

    def slope(self, z: T) -> T:
        return z * 0.0 + 1.0

    def slope_range(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        return np.zeros_like(lower), np.full_like(upper, np.inf)

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """Image of [lower, upper], exact."""
        return self.value(lower), self.value(upper)

    def lines(
        self, lower: Floats, upper: Floats, method: str
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """Constants, whatever the method."""
        (low, high), flat = self.interval(lower, upper), np.zeros_like(lower)
        return flat, _single(low, -1), flat, _single(high, 1)


def _single(x: Floats, side: int) -> Floats:
    """`x` in float32, rounded outward where it is none."""
    same = x.astype(np.float32).astype(np.float64)
    return np.where(same == x, same, outward32(x, side))
