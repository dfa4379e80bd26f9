"""Some channels of an image alone."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.errors import GraphpruneError
from graphprune.threats.base import Fixing, Floats, Shape
from graphprune.threats.numbers import channel_axis
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Channels(Fixing):
    """Only these channels of an image, from 0, may change."""

    name: ClassVar[str] = "channels"

    only: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "only", tuple(self.only))
        if not self.only:
            raise GraphpruneError("'channels': give only=I+J+..., the numbers of channels")

    def weights(self, shape: Shape) -> Floats:
        axis = channel_axis(shape) if len(shape) == 3 else None
        if axis is None:
            raise GraphpruneError(f"'channels' is for images; samples have shape {shape}")
        for number in self.only:
            if not 0 <= number < shape[axis]:
                raise GraphpruneError(
                    f"'channels': there is no channel {number}: images have 0 to {shape[axis] - 1}"
                )
        mask = np.moveaxis(np.zeros(shape), axis, 0)
        mask[list(self.only)] = 1.0
        return np.ascontiguousarray(np.moveaxis(mask, 0, axis))
