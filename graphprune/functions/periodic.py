"""Base of the sine and the cosine: infinitely many pieces, at most four of them in a period."""

from collections.abc import Iterator, Sequence
from math import pi
from typing import ClassVar

import numpy as np

from graphprune.functions.calculus import Floats
from graphprune.functions.scalar import Bools, Piece, ScalarFunction

# Multiples of pi beyond this are too inexact: 1 and -1 are the bounds there.
FARTHEST = 1e7


class Periodic(ScalarFunction):
    """A function of z that is the sine of z + `phase`: concave where it is positive."""

    phase: ClassVar[float]

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        low, high = super().interval(lower, upper)
        whole = _whole(lower, upper)
        return np.where(whole, -1.0, low), np.where(whole, 1.0, high)

    def slope_range(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        least, largest = super().slope_range(lower, upper)
        whole = _whole(lower, upper)
        return np.where(whole, -1.0, least), np.where(whole, 1.0, largest)

    def lines(
        self, lower: Floats, upper: Floats, method: str
    ) -> tuple[Floats, Floats, Floats, Floats]:
        whole = _whole(lower, upper)
        # No piece is asked for where constants are the bounds.
        end = np.where(whole, lower, upper)
        below, low, above, high = super().lines(lower, end, method)
        return (
            np.where(whole, 0.0, below), np.where(whole, -1.0, low),
            np.where(whole, 0.0, above), np.where(whole, 1.0, high),
        )  # fmt: skip

    def critical(self, lower: Floats, upper: Floats) -> Sequence[Floats]:
        """The first two odd multiples of pi / 2 in [lower, upper]."""
        first = np.ceil((lower + self.phase) / pi - 0.5)
        places = ((first + k + 0.5) * pi - self.phase for k in (0.0, 1.0))
        return [np.clip(place, lower, upper) for place in places]

    def pieces(self, lower: Floats, upper: Floats) -> Iterator[Piece]:
        first = np.floor((lower + self.phase) / pi)
        for k in range(4):
            left, right = ((first + n) * pi - self.phase for n in (k, k + 1))
            concave = (first + k) % 2.0 == 0.0
            yield np.clip(left, lower, upper), np.clip(right, lower, upper), ~concave


def _whole(lower: Floats, upper: Floats) -> Bools:
    """True where an interval holds a whole period, or lies too far out."""
    far = np.maximum(np.abs(lower), np.abs(upper)) > FARTHEST
    return far | (upper - lower >= 2.0 * pi)
