"""A patch of an image."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.errors import GraphpruneError
from graphprune.threats.base import Fixing, Floats, Shape
from graphprune.threats.mask import rectangle
from graphprune.threats.numbers import image_axes
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Patch(Fixing):
    """Only a patch may change, `size` or height,width pixels, `at` top,left; else in the middle.

    It is one patch at one place: the worst of several places is the least of their distances.
    """

    name: ClassVar[str] = "patch"

    size: tuple[int, ...] = (5,)
    at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        size = (self.size,) if isinstance(self.size, int) else tuple(self.size)
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "at", tuple(self.at))
        if len(size) not in (1, 2) or len(self.at) not in (0, 2):
            raise GraphpruneError("'patch': give size=N or size=height,width, and at=top,left")

    def weights(self, shape: Shape) -> Floats:
        rows, columns = image_axes(shape, "'patch'")
        height, width = self.size * 2 if len(self.size) == 1 else self.size
        middle = (shape[rows] - height) // 2, (shape[columns] - width) // 2
        return rectangle(shape, (*(self.at or middle), height, width), "'patch'")
