"""Raw units in front of a network that takes normalised ones."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.errors import AnchorError, GraphpruneError
from graphprune.ir import Network
from graphprune.ir.front import in_front
from graphprune.region import Anchor, Domain
from graphprune.threats.base import Floats, Shape, Units
from graphprune.threats.fronts import InUnits
from graphprune.threats.numbers import Numbers
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Normalise(Units):
    """The file takes (x - mean) / std; x, the domain, distances and points are in raw units.

    Both are one number, one per channel, or one per element, in the units of the anchors: for
    bytes with ``--domain 0,255`` those of the table for [0, 1] times 255. The division is made in
    the file's own type, as data loaders make it.
    """

    name: ClassVar[str] = "normalise"

    mean: Numbers = Numbers("0")  # noqa: RUF009
    std: Numbers = Numbers("1")  # noqa: RUF009

    def __post_init__(self) -> None:
        for option in ("mean", "std"):
            object.__setattr__(self, option, Numbers(getattr(self, option)))

    def check(self, shape: Shape, domain: Domain) -> None:
        mean, std = self._of(shape)
        if not np.all(std > 0.0):
            raise GraphpruneError(f"'normalise': std={self.std} must be positive")
        low, high = domain.outermost
        if np.any(mean < low) or np.any(mean > high):
            raise GraphpruneError(
                f"'normalise': mean={self.mean} lies outside the domain {domain.span}: means are in"
                " the units of the anchors; give them so, or another domain"
            )
        if 2.0 < high < np.inf and np.all((mean > 0.0) & (mean < 1.0) & (std < 1.0)):
            raise GraphpruneError(
                f"'normalise': mean={self.mean} and std={self.std} are those of values in [0, 1],"
                f" the domain is {domain.span}: give them in the units of the anchors (times"
                f" {high:g}), or the domain [0, 1]"
            )

    def check_anchor(self, anchor: Anchor) -> None:
        mean = self._of(anchor.x.shape)[0]
        x = anchor.x
        if np.all(mean > 1.0) and 0.0 < x.max() <= 1.0 and np.any(x != np.floor(x)):
            raise AnchorError(
                f"anchor {anchor.index} has values in [{x.min():g}, {x.max():g}], but"
                f" 'normalise' has mean={self.mean}: give points in the units of mean and std, or"
                " these in those of the points"
            )

    def _of(self, shape: Shape) -> tuple[Floats, Floats]:
        return self.mean.over(shape, "'normalise'"), self.std.over(shape, "'normalise'")

    def before(self, network: Network) -> Network:
        shape, kind = network.input_shape, network.source.dtype
        mean, std = (part.astype(kind).astype(np.float64) for part in self._of(shape))
        return in_front(network, InUnits(mean, std, shape))
