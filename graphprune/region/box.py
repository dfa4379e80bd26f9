"""Boxes: the points between two ends, element by element, without an anchor."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graphprune.region.base import Floats, Region
from graphprune.region.norms import LINF, Norm


@dataclass(frozen=True, eq=False)
class Box(Region):
    """Element-wise box {lower <= x <= upper}; its sides may have any lengths.

    A smaller radius leaves the part of the box within a cube around its centre, which is a box
    again and keeps the centre.

    Attributes
    ----------
    lower, upper
        float64, the network's sample shape, finite, lower <= upper.
    center
        The middle, unless the box is what `shrunk` left of another one.
    within
        The radius it was shrunk to.
    """

    lower: Floats
    upper: Floats
    center: Floats = field(default=None, repr=False)  # type: ignore[arg-type]
    within: float = field(default=np.inf, repr=False)

    def __post_init__(self) -> None:
        if self.center is None:
            middle = self.lower + 0.5 * (self.upper - self.lower)
            object.__setattr__(self, "center", middle)

    @property
    def norm(self) -> Norm:
        return LINF

    @property
    def radius(self) -> float:
        farthest = np.maximum(self.upper - self.center, self.center - self.lower)
        return min(self.within, float(np.max(farthest, initial=0.0)))

    @property
    def outward(self) -> tuple[Floats, Floats]:
        return self.lower, self.upper

    def shrunk(self, radius: float) -> "Box":
        lower = np.maximum(self.lower, self.center - radius)
        upper = np.minimum(self.upper, self.center + radius)
        return Box(lower, upper, self.center, min(self.within, radius))

    def contains(self, x: NDArray[np.floating]) -> bool:
        point = x.astype(np.float64)
        return bool(np.all(point >= self.lower) and np.all(point <= self.upper))

    def pulled(self, points: Floats) -> Floats:
        return points

    def inner_box(self) -> "Box":
        return self

    def describe(self) -> dict[str, str]:
        ends = [np.unique(side) for side in (self.lower, self.upper)]
        if all(end.size == 1 for end in ends):
            return {"box": ",".join(repr(float(end[0])) for end in ends)}
        stacked = np.ascontiguousarray(np.stack([self.lower, self.upper]))
        digest = hashlib.sha256(stacked.tobytes()).hexdigest()
        return {"box": f"sha256 of float64 [lower, upper] {digest}"}

    @property
    def _limits(self) -> tuple[Floats, Floats]:
        return self.lower, self.upper
