"""One number, added everywhere."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.region import Domain
from graphprune.threats.base import Along, Directions, Floats
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Uniform(Directions):
    """x = x0 + z: one number is added to all elements that may change."""

    name: ClassVar[str] = "uniform"

    def along(self, x: Floats, domain: Domain) -> Along:
        return Along.one(np.ones(x.shape), -np.inf, np.inf)
