"""Some features alone, by their numbers."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.errors import GraphpruneError
from graphprune.threats.base import Fixing, Floats, Shape
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Features(Fixing):
    """Only the elements with these numbers, from 0 in the order of the sample, may change."""

    name: ClassVar[str] = "features"

    only: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "only", tuple(self.only))
        if not self.only:
            raise GraphpruneError("'features': give only=I+J+..., the numbers of features")

    def weights(self, shape: Shape) -> Floats:
        size = int(np.prod(shape))
        for number in self.only:
            if not 0 <= number < size:
                raise GraphpruneError(
                    f"'features': there is no feature {number}: samples have 0 to {size - 1}"
                )
        mask = np.zeros(size)
        mask[list(self.only)] = 1.0
        return mask.reshape(shape)
