"""On the way to another image."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.errors import GraphpruneError
from graphprune.region import Domain
from graphprune.region.pixels import as_floats
from graphprune.threats.base import Along, Directions, Floats, Shape
from graphprune.threats.numbers import Numbers
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Interpolate(Directions):
    """x = (1 - z) x0 + z x1 with 0 <= z <= 1, towards a point x1 of a file.

    The file holds one point, or several, of which `index` says which. Bytes are read as anchors
    are.
    """

    name: ClassVar[str] = "interpolate"

    to: Numbers
    index: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "to", Numbers(self.to))

    def check(self, shape: Shape, domain: Domain) -> None:
        self._end(shape, domain)

    def _end(self, shape: Shape, domain: Domain) -> Floats:
        found, size = self.to.array, int(np.prod(shape))
        if found.dtype.kind == "b" or found.size % size or not found.size:
            raise GraphpruneError(
                f"'interpolate': {self.to} has shape {found.shape}, which holds no points of shape"
                f" {shape}"
            )
        if len(shape) == 3 and found.shape == (*shape[1:], shape[0]) != shape:
            found = np.moveaxis(found, -1, 0)  # as PNG has it
        points = found.reshape(-1, size)
        if not 0 <= self.index < len(points):
            raise GraphpruneError(
                f"'interpolate': {self.to} holds points 0 to {len(points) - 1}, no {self.index}"
            )
        point = points[self.index : self.index + 1]
        end = as_floats(point, domain, f"'interpolate': {self.to}").astype(np.float64)
        end = end.reshape(shape)
        high = domain.outermost[1]
        if 2.0 < high < np.inf and 0.0 < end.max() <= 1.0 and np.any(end != np.floor(end)):
            raise GraphpruneError(
                f"'interpolate': {self.to} holds values in [{end.min():g}, {end.max():g}], the"
                f" domain is {domain.span}: multiply them by {high:g}, or give the domain [0, 1]"
            )
        if not domain.contains(end):
            raise GraphpruneError(
                f"'interpolate': {self.to} has values in [{end.min():g}, {end.max():g}], outside"
                f" the domain {domain.span}"
            )
        return end

    def along(self, x: Floats, domain: Domain) -> Along:
        return Along.one(self._end(x.shape, domain) - x, 0.0, 1.0)
