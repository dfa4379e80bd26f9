"""Units per element."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.errors import GraphpruneError
from graphprune.threats.base import Floats, Shape, Weights
from graphprune.threats.numbers import Numbers
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Scaled(Weights):
    """Element i moves `by` its number per unit of distance: |x_i - x0_i| / by_i; 0: it is fixed.

    With the standard deviations of features, distances are in standard deviations.
    """

    name: ClassVar[str] = "scale"

    by: Numbers

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", Numbers(self.by))

    def weights(self, shape: Shape) -> Floats:
        by = self.by.over(shape, "'scale'")
        if np.any(by < 0.0):
            raise GraphpruneError(f"'scale': by={self.by} must not be negative; 0 fixes an element")
        return np.broadcast_to(by, shape)
