"""More and less contrast."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.region import Domain
from graphprune.threats.base import Along, Directions, Floats
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Contrast(Directions):
    """x = m + (1 + z) (x0 - m), where m is the mean of x0; at z = -1 all is m."""

    name: ClassVar[str] = "contrast"

    def along(self, x: Floats, domain: Domain) -> Along:
        return Along.one(x - x.mean(), -1.0, np.inf)
