"""A region: the set of points that may be perturbed to."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphprune.region.norms import Norm

if TYPE_CHECKING:
    from graphprune.region.box import Box

Floats = NDArray[np.float64]

# Half the distance from 1 to the next number.
UNIT = 2.0**-53
# Underflows move a sum by less.
SMALL = 1e-300


@dataclass(frozen=True, eq=False)
class Minimum:
    """The least value of a linear row over a region.

    Attributes
    ----------
    value
        Computed in float64; no point of the region has a value below ``value - error``.
    error
        Proven bound of the rounding.
    point
        Where the value is taken, or near that; sample shape.
    """

    value: float
    error: float
    point: Floats


class Region(ABC):
    """The points of a box, or of a norm's ball within a box.

    Attributes
    ----------
    center
        float64, the network's sample shape: where radii are measured from.
    radius
        No point is farther from the centre than this in `norm`.
    norm
        The norm of radii.
    lower, upper
        Sides of the smallest box around the region, rounded to nearest; sample shape.
    """

    if TYPE_CHECKING:
        # Fields of one kind of region are computed in another.
        @property
        def center(self) -> Floats: ...
        @property
        def radius(self) -> float: ...
        @property
        def norm(self) -> Norm: ...
        @property
        def lower(self) -> Floats: ...
        @property
        def upper(self) -> Floats: ...

    @property
    @abstractmethod
    def outward(self) -> tuple[Floats, Floats]:
        """Sides (lower, upper) of a box that holds every real point of the region."""

    @abstractmethod
    def shrunk(self, radius: float) -> "Region":
        """The points within `radius` of the same centre; the region itself where that is all."""

    @abstractmethod
    def contains(self, x: NDArray[np.floating]) -> bool:
        """Tell if a point (sample shape) lies in the region."""

    @abstractmethod
    def pulled(self, points: Floats) -> Floats:
        """Points (N, *sample) of the box around the region; those outside go to its surface."""

    @abstractmethod
    def inner_box(self) -> "Box":
        """A box within the region, as large as its shape lets it be."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """The region as metadata: what a reader needs to know where a file is valid."""

    def intersection(self, other: "Region") -> "Region | None":
        """A region inside both, None where there is none.

        Their intersection where that is a ball or box; a ball in a norm whose balls are no boxes
        counts as the largest cube around its centre that lies inside it.
        """
        from graphprune.region.box import Box

        one, two = self.inner_box(), other.inner_box()
        lower, upper = np.maximum(one.lower, two.lower), np.minimum(one.upper, two.upper)
        return None if np.any(lower > upper) else Box(lower, upper)

    def minimum(self, row: Floats) -> Minimum:
        """The least value of ``row . x`` over the region, to rounding."""
        lower, upper = self.outward
        point = np.where(row > 0.0, lower, upper)
        extent = np.maximum(np.abs(lower), np.abs(upper))
        corner = self._rounded(float(np.sum(row * point)), np.sum(np.abs(row) * extent), point)
        if self.norm.separable:
            return corner
        steep, way = self._against(row, (lower, upper))
        gain, moves = self.norm.gain(steep.reshape(-1), way.reshape(-1), self.radius)
        size = np.sum(steep * (2.0 * np.abs(self.center) + 2.0 * extent + 2.0 * way)) + gain
        # A side of the box that nothing bounds is none of the ball's points.
        point = np.clip(self.center - np.sign(row) * moves.reshape(row.shape), lower, upper)
        inside = self._rounded(float(np.sum(row * self.center)) - gain, size, point)
        return max(corner, inside, key=lambda found: found.value - found.error)

    def root(self, row: Floats, constant: float) -> float:
        """A radius below which ``row . x + constant`` is proven positive; inf: in all the box.

        The largest such radius, to rounding.
        """
        size = float(np.sum(np.abs(row * self.center))) + abs(constant)
        fall = float(np.sum(row * self.center)) + constant
        fall -= 4.0 * (row.size + 8) * UNIT * size + SMALL
        if not fall > 0.0:
            return 0.0
        steep, way = (part.reshape(-1) for part in self._against(row, self._limits))
        shorter = 1.0 - 8.0 * (row.size + 8) * UNIT
        if float(steep @ way) < fall * shorter:
            return np.inf
        # The least radius is a convex function of the fall and 0 at 0: of a little less fall it is
        # smaller by that share at least.
        moves = self.norm.shortest(steep, way, fall * shorter)
        return self.norm.length(moves) * shorter

    def _against(self, row: Floats, box: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """Absolute coefficients, and how far each element can move against them in a box."""
        lower, upper = box
        way = np.where(row > 0.0, self.center - lower, upper - self.center)
        way = np.nextafter(np.maximum(way, 0.0), np.inf)
        return np.abs(row), np.where(row == 0.0, 0.0, way)

    @property
    @abstractmethod
    def _limits(self) -> tuple[Floats, Floats]:
        """The sides that stop a move whatever the radius is."""

    def _rounded(self, value: float, size: float, point: Floats) -> Minimum:
        return Minimum(value, 4.0 * (point.size + 8) * UNIT * float(size) + SMALL, point)
