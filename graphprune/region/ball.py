"""Balls: the points of a domain within a radius of a centre."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from graphprune.region.base import Floats, Region
from graphprune.region.box import Box
from graphprune.region.domain import Domain
from graphprune.region.norms import LINF, Norm, norm_of


@dataclass(frozen=True, eq=False, init=False)
class Ball(Region):
    """{x in domain : ||x - center|| <= radius}, and the element-wise box around it.

    Attributes
    ----------
    center
        float64, the network's sample shape.
    radius
        Radius in `norm`, >= 0.
    norm
        ``linf``, ``l2``, ``l1``, or another one that is registered; its name is enough. In
        ``linf`` the box is the ball itself.
    """

    center: Floats
    radius: float
    domain: Domain
    norm: Norm

    def __init__(
        self, center: Floats, radius: float, domain: Domain | None = None, norm: str = LINF
    ) -> None:
        fields = {"center": center, "radius": radius, "domain": domain or Domain()}
        for name, value in (fields | {"norm": norm_of(norm)}).items():
            object.__setattr__(self, name, value)

    @property
    def _half(self) -> float:
        """Largest move of one element, rounded up."""
        extent = self.norm.extent
        return self.radius if extent == 1.0 else float(np.nextafter(self.radius * extent, np.inf))

    @property
    def lower(self) -> Floats:
        return np.maximum(self.center - self._half, self.domain.low)

    @property
    def upper(self) -> Floats:
        return np.minimum(self.center + self._half, self.domain.high)

    @property
    def outward(self) -> tuple[Floats, Floats]:
        lower = np.maximum(_below(self.center, -self._half), self.domain.low)
        upper = np.minimum(-_below(-self.center, -self._half), self.domain.high)
        return lower, upper

    def shrunk(self, radius: float) -> "Ball":
        return replace(self, radius=radius) if radius < self.radius else self

    def contains(self, x: NDArray[np.floating]) -> bool:
        point = x.astype(np.float64)
        inside = bool(np.all(point >= self.lower) and np.all(point <= self.upper))
        if not self.norm.separable:
            inside = inside and self.norm.length(point - self.center) <= self.radius
        return inside

    def pulled(self, points: Floats) -> Floats:
        if self.norm.separable:
            return points
        steps = points - self.center
        # A little inside of the surface, for what rounds.
        share = (1.0 - 1e-12) * self.radius / np.maximum(self.norm.lengths(steps), 1e-300)
        share = np.minimum(1.0, share).reshape(-1, *(1,) * self.center.ndim)
        return np.clip(self.center + share * steps, self.lower, self.upper)

    def inner_box(self) -> Box:
        half = self.radius / self.norm.length(np.ones_like(self.center))
        cube = Ball(self.center, half, self.domain)
        return Box(cube.lower, cube.upper)

    def describe(self) -> dict[str, str]:
        norm = {} if self.norm is LINF else {"norm": str(self.norm)}
        return {"radius": repr(float(self.radius)), "domain": self.domain.text, **norm}

    def intersection(self, other: Region) -> Region | None:
        """A region inside both: of balls around one centre the one inside the other."""
        if isinstance(other, Ball):
            small, large = sorted((self, other), key=lambda b: (b.radius, b.norm.order))
            one = np.array_equal(small.center, large.center) and small.domain == large.domain
            # At the same radius the ball of a smaller p lies inside that of a larger one.
            if one and small.norm.order <= large.norm.order:
                return small
        return super().intersection(other)

    @property
    def _limits(self) -> tuple[Floats, Floats]:
        return self.domain.box(self.center.shape)


def _below(a: Floats, b: float) -> Floats:
    """Float64 numbers that are at most a + b."""
    total = a + b
    # Knuth's exact difference: where it is negative, one step down.
    part = total - a
    rest = (a - (total - part)) + (b - part)
    above = rest < 0
    total[above] = np.nextafter(total[above], -np.inf)
    return total
