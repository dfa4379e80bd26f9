"""Anchors: the points that are perturbed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import AnchorError
from graphprune.notebook import shown
from graphprune.region.arrays import as_array
from graphprune.region.ball import Ball
from graphprune.region.domain import Domain
from graphprune.region.norms import LINF, norm_of
from graphprune.region.pixels import as_floats

if TYPE_CHECKING:
    from graphprune.region.domain import Floats


# The label of an anchor that has none: the network's own answer is meant.
PREDICTED = -1
# The words of an error where something else is given for an anchor.
AN_ANCHOR = "an anchor, as of gp.Anchor(x)"


@dataclass(frozen=True, eq=False)
class Anchor:
    """A point with its label.

    Attributes
    ----------
    x
        The network's sample shape (no batch axis), finite: an array, or whatever NumPy makes one
        of, such as lists and PyTorch tensors. Bytes are read as in files, when a network and a
        domain are asked about.
    label
        Class index y, from 0; without one it is what the network says.
    index
        Position in the anchors file, from 0.
    """

    x: NDArray[np.floating]
    label: int = PREDICTED
    index: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", as_array(self.x))

    def __repr__(self) -> str:
        label = "no label" if self.label == PREDICTED else f"class {self.label}"
        return f"Anchor({self.index}: {label}, {self.x.dtype} {self.x.shape})"

    def _repr_html_(self) -> str:
        """Show the point in a notebook, as a picture where it is an image."""
        return shown(("anchor", "class"), (self.index, self._class), self.x)

    @property
    def _class(self) -> str:
        return "as the network says" if self.label == PREDICTED else str(self.label)

    @property
    def center(self) -> "Floats":
        """The point in float64."""
        if self.x.dtype.kind != "f":
            raise AnchorError(
                f"the anchor is of {self.x.dtype}, which domains read differently: give float32"
            )
        return self.x.astype(np.float64)

    def read_for(
        self,
        shape: tuple[int, ...],
        classes: int,
        domain: Domain,
        predict: "Callable[[NDArray[np.floating]], int]",
    ) -> "Anchor":
        """The anchor with bytes as numbers, and with the predicted label where it has none.

        Parameters
        ----------
        predict
            The class of a point (*shape) that fits the network.

        Raises
        ------
        AnchorError
            The point does not fit the network, or lies outside the domain.
        """
        x = self.x
        if x.dtype.kind in "iu":
            x = as_floats(x, domain, "the anchor")
        if not (isinstance(self.label, int | np.integer) and self.label == PREDICTED):
            return replace(self, x=x)
        known = replace(self, x=x, label=0)
        known.require(shape, classes, domain)
        return replace(known, label=predict(x))

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
        if self.x.dtype.kind != "f":
            raise AnchorError(f"the anchor is no array of float32 or float64, but {self.x.dtype}")
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
