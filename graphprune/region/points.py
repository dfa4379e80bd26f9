"""Anchors, domains and balls: the points a question is about."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import AnchorError

Floats = NDArray[np.float64]
Norm = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)

# Searches without a domain and a radius end here.
SEARCH_LIMIT = 1e3


@dataclass(frozen=True, eq=False)
class Anchor:
    """A point with its label.

    Attributes
    ----------
    x
        Array of the network's sample shape (no batch axis), float32 or float64, finite.
    label
        Class index y, from 0.
    index
        Position in the anchors file, from 0.
    """

    x: NDArray[np.floating]
    label: int
    index: int = 0

    def require(self, shape: tuple[int, ...], classes: int, domain: "Domain") -> None:
        """Refuse what a network of this sample shape cannot be asked about in `domain`.

        Raises
        ------
        AnchorError
            Another shape, NaN or infinite values, a label out of range, a point outside.
        """
        if not isinstance(self.x, np.ndarray) or self.x.dtype.kind != "f":
            kind = getattr(self.x, "dtype", type(self.x).__name__)
            raise AnchorError(f"the anchor is no array of float32 or float64, but {kind}")
        if not isinstance(self.label, int | np.integer):
            raise AnchorError(f"the anchor's label is no integer, but {self.label!r}")
        if self.x.shape != shape:
            raise AnchorError(f"the anchor has shape {self.x.shape}, the network takes {shape}")
        if not np.all(np.isfinite(self.x)):
            raise AnchorError("the anchor holds NaN or infinite values")
        if not 0 <= self.label < classes:
            raise AnchorError(f"label {self.label} is out of range: the network has {classes}")
        if not domain.contains(self.x):
            raise AnchorError(
                f"the anchor has values in [{self.x.min():g}, {self.x.max():g}], outside the domain"
                f" [{domain.low:g}, {domain.high:g}]; scale it or give another domain"
            )


@dataclass(frozen=True)
class Domain:
    """Box that perturbed points must stay in, the same interval for every input element.

    ``Domain()`` is [0, 1]; ``Domain(-inf, inf)`` means no domain.
    """

    low: float = 0.0
    high: float = 1.0

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def ends(self, dtype: np.dtype[np.floating]) -> tuple[np.floating, np.floating]:
        """The outermost numbers of a type that lie inside: the nearest ones may lie outside."""
        low, high = dtype.type(self.low), dtype.type(self.high)
        if float(low) < self.low:
            low = np.nextafter(low, dtype.type(np.inf))
        if float(high) > self.high:
            high = np.nextafter(high, dtype.type(-np.inf))
        return low, high

    def contains(self, x: NDArray[np.floating]) -> bool:
        return bool(np.all(x >= self.low) and np.all(x <= self.high))

    def reach(self, x: NDArray[np.floating], norm: Norm = "linf") -> float:
        """Radius of the smallest ball around `x` that covers the domain (inf: none)."""
        point = x.astype(np.float64)
        return length(np.maximum(point - self.low, self.high - point), norm)

    def search_limit(
        self, x: NDArray[np.floating], norm: Norm = "linf", radius: float | None = None
    ) -> float:
        """Largest radius that searches try: the one asked for, up to the reach where there is one.

        Where there is neither it is a limit that proves nothing about what is beyond.
        """
        limit = min(self.reach(x, norm), np.inf if radius is None else radius)
        return limit if np.isfinite(limit) else SEARCH_LIMIT


@dataclass(frozen=True, eq=False)
class Ball:
    """{x in domain : ||x - center|| <= radius}, and the element-wise box around it.

    Attributes
    ----------
    center
        float64, the network's sample shape.
    radius
        Radius in `norm`, >= 0.
    norm
        For ``linf`` the box is the ball itself.
    """

    center: Floats
    radius: float
    domain: Domain = field(default_factory=Domain)
    norm: Norm = "linf"

    @property
    def lower(self) -> Floats:
        return np.maximum(self.center - self.radius, self.domain.low)

    @property
    def upper(self) -> Floats:
        return np.minimum(self.center + self.radius, self.domain.high)

    def pulled(self, points: Floats) -> Floats:
        """Points (N, *sample) of the box around the ball; those outside go to its surface."""
        if self.norm == "linf":
            return points
        steps = points - self.center
        # A little inside of the surface, for what rounds.
        share = (1.0 - 1e-12) * self.radius / np.maximum(lengths(steps, self.norm), 1e-300)
        share = np.minimum(1.0, share).reshape(-1, *(1,) * self.center.ndim)
        return np.clip(self.center + share * steps, self.lower, self.upper)


def lengths(steps: NDArray[np.floating], norm: Norm = "linf") -> Floats:
    """Norms (N,) of steps (N, ...) in float64."""
    flat = np.abs(steps.astype(np.float64).reshape(len(steps), -1))
    if norm == "linf":
        return np.asarray(flat.max(axis=1, initial=0.0))
    if norm == "l1":
        return np.asarray(flat.sum(axis=1))
    return np.asarray(np.sqrt(np.square(flat).sum(axis=1)))


def length(step: NDArray[np.floating], norm: Norm = "linf") -> float:
    """Norm of one step in float64."""
    return float(lengths(step[None], norm)[0])


@dataclass(frozen=True, eq=False)
class Box:
    """Element-wise box {lower <= x <= upper}, without an anchor.

    Attributes
    ----------
    lower, upper
        float64, the network's sample shape, finite, lower <= upper.
    """

    lower: Floats
    upper: Floats


# Where a rewrite's promise holds.
Region = Ball | Box


def contains(region: Region, x: NDArray[np.floating]) -> bool:
    """Whether a point (sample shape) lies in a ball or box."""
    point = x.astype(np.float64)
    inside = bool(np.all(point >= region.lower) and np.all(point <= region.upper))
    if isinstance(region, Ball) and region.norm != "linf":
        inside = inside and length(point - region.center, region.norm) <= region.radius
    return inside


def intersection(first: Region, second: Region) -> Region | None:
    """A region inside both, None where there is none: their intersection, if it is a ball or box.

    Of balls around one centre the one inside the other. Otherwise a box; a ball in another norm
    than ``linf`` then counts as the largest cube around its centre that lies inside it.
    """
    if isinstance(first, Ball) and isinstance(second, Ball):
        small, large = sorted((first, second), key=lambda b: (b.radius, -NORMS.index(b.norm)))
        one = np.array_equal(small.center, large.center) and small.domain == large.domain
        # At the same radius the ball of a later norm lies inside that of an earlier one.
        if one and NORMS.index(small.norm) >= NORMS.index(large.norm):
            return small
    boxes = [_inner(region) for region in (first, second)]
    lower = np.maximum(*(box.lower for box in boxes))
    upper = np.minimum(*(box.upper for box in boxes))
    return None if np.any(lower > upper) else Box(lower, upper)


def _inner(region: Region) -> Box:
    if isinstance(region, Ball):
        half = region.radius / length(np.ones_like(region.center), region.norm)
        region = Ball(region.center, half, region.domain)
    return Box(region.lower, region.upper)


def dual(norm: Norm, gradient: NDArray[np.floating]) -> float:
    """Norm of a gradient in the dual norm: how fast a step of length one can change the value."""
    partner: dict[Norm, Norm] = {"linf": "l1", "l2": "l2", "l1": "linf"}
    return length(gradient, partner[norm])


def linf(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """L-infinity distance in float64."""
    return length(x.astype(np.float64) - y.astype(np.float64))
