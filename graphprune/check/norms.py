"""The norms that proofs are about: lengths, and the least value of a row over a ball in a box.

For any multiplier m >= 0 on the ball's constraint, weak duality says

    min { c . d : a <= d <= b, ||d|| <= r }
        >=  sum_i min { c_i d + m p(d) : a_i <= d <= b_i } - m q

with p(d) = d^2 / 2 and q = r^2 / 2 in l2, p(d) = |d| and q = r in l1. An inexact multiplier costs
tightness, never soundness.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from graphprune.check.container import Refused
from graphprune.check.forms import Floats

# Newton's steps towards a multiplier in l2, halvings in l1, and the least that is divided by.
NEWTON, HALVINGS, LEAST = 6, 30, 1e-150


class BallNorm(ABC):
    """A norm by its name.

    Attributes
    ----------
    boxed
        The ball is a box.
    """

    name: ClassVar[str]
    boxed: ClassVar[bool] = False

    @abstractmethod
    def length(self, step: Floats) -> float:
        """The norm of a step."""

    @abstractmethod
    def least(self, c: Floats, a: Floats, b: Floats, radius: float) -> tuple[Floats, Floats]:
        """Least values (R,) of rows c (R, n) over a <= d <= b (n,) in the ball, before rounding.

        The sums (R,) of the absolute terms that rounding is relative to are the second result.
        """


class Linf(BallNorm):
    """The largest absolute value."""

    name = "linf"
    boxed = True

    def length(self, step: Floats) -> float:
        return float(np.max(np.abs(step), initial=0.0))

    def least(self, c: Floats, a: Floats, b: Floats, radius: float) -> tuple[Floats, Floats]:
        ends = np.minimum(c * a, c * b)
        return ends.sum(axis=1), np.abs(ends).sum(axis=1)


class L2(BallNorm):
    """The Euclidean norm."""

    name = "l2"

    def length(self, step: Floats) -> float:
        return float(np.sqrt(np.sum(step * step)))

    def least(self, c: Floats, a: Floats, b: Floats, radius: float) -> tuple[Floats, Floats]:
        square = c * c
        m = np.sqrt(square.sum(axis=1)) / max(radius, LEAST)
        for _ in range(NEWTON):
            free = -c / np.maximum(m, LEAST)[:, None]
            step = np.clip(free, a, b)
            stopped = step != free
            left = radius**2 - np.where(stopped, step * step, 0.0).sum(axis=1)
            slope = np.where(stopped, 0.0, square).sum(axis=1)
            m = np.minimum(m, np.sqrt(slope / np.maximum(left, LEAST)))
        m = np.maximum(m, LEAST)[:, None]
        free = -c / m
        step = np.clip(free, a, b)
        stopped = step != free
        linear = np.where(stopped, c * step, 0.0)
        curved = np.where(stopped, 0.5 * m * step * step, -0.5 * square / m)
        whole = 0.5 * m[:, 0] * radius**2
        size = np.abs(linear).sum(axis=1) + np.abs(curved).sum(axis=1) + whole
        return (linear + curved).sum(axis=1) - whole, size


class L1(BallNorm):
    """The sum of absolute values."""

    name = "l1"

    def length(self, step: Floats) -> float:
        return float(np.sum(np.abs(step)))

    def least(self, c: Floats, a: Floats, b: Floats, radius: float) -> tuple[Floats, Floats]:
        steep = np.abs(c)
        way = np.maximum(np.where(c > 0.0, -a, b), 0.0)
        low, high = np.zeros(len(c)), steep.max(axis=1, initial=0.0)
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            over = np.where(steep > middle[:, None], way, 0.0).sum(axis=1) > radius
            low, high = np.where(over, middle, low), np.where(over, high, middle)
        m = high[:, None]
        ends = np.minimum(c * a + m * np.abs(a), c * b + m * np.abs(b))
        # At 0 where it is among the points, and exactly so where no end is better.
        least = np.where((a <= 0.0) & (b >= 0.0), np.minimum(ends, 0.0), ends)
        still = (a <= 0.0) & (b >= 0.0) & (steep <= m)
        far = np.maximum(np.abs(a), np.abs(b))
        size = np.where(still, 0.0, (steep + m) * far).sum(axis=1) + high * radius
        return np.where(still, 0.0, least).sum(axis=1) - high * radius, size


NORMS: dict[str, BallNorm] = {norm.name: norm for norm in (Linf(), L2(), L1())}


def norm_of(name: str | None) -> BallNorm:
    """The norm of a proof; None: ``linf``.

    Raises
    ------
    Refused
        It is unknown.
    """
    name = Linf.name if name is None else name
    if name not in NORMS:
        raise Refused(f"its norm '{name}' is none of {', '.join(NORMS)}")
    return NORMS[name]
