"""Anchors: the points that are perturbed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import AnchorError
from graphprune.region.ball import Ball
from graphprune.region.domain import Domain
from graphprune.region.norms import LINF, norm_of

if TYPE_CHECKING:
    from graphprune.region.domain import Floats


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

    def __repr__(self) -> str:
        values = np.asarray(self.x)
        return f"Anchor({self.index}: class {self.label}, {values.dtype} {values.shape})"

    @property
    def center(self) -> "Floats":
        """The point in float64."""
        return self.x.astype(np.float64)

    def ball(self, radius: float, domain: Domain, norm: str = LINF) -> Ball:
        """The points of `domain` within `radius` of the anchor."""
        return Ball(self.center, radius, domain, norm)

    def distance(self, x: NDArray[np.floating], norm: str = LINF) -> float:
        """Distance of a point (sample shape), in float64."""
        return norm_of(norm).length(x.astype(np.float64) - self.center)

    def require(self, shape: tuple[int, ...], classes: int, domain: Domain) -> None:
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
        domain.require_shape(shape)
        if not domain.contains(self.x):
            raise AnchorError(
                f"the anchor has values in [{self.x.min():g}, {self.x.max():g}], outside the domain"
                f" {domain.span}; scale it or give another domain"
            )
