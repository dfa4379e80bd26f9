"""Brighter and darker images."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.region import Domain
from graphprune.threats.base import Along, Directions, Floats
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Brightness(Directions):
    """x = (1 + z) x0: a distance of 0.1 is 10 % brighter or darker; at z = -1 all is 0."""

    name: ClassVar[str] = "brightness"

    def along(self, x: Floats, domain: Domain) -> Along:
        return Along.one(x, -1.0, np.inf)
