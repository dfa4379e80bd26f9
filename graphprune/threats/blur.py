"""On the way to a blurred image."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.errors import GraphpruneError
from graphprune.region import Domain
from graphprune.threats.base import Along, Directions, Floats, Shape
from graphprune.threats.numbers import image_axes
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Blur(Directions):
    """x = (1 - z) x0 + z g(x0) with 0 <= z <= 1, where g is a Gaussian blur of `sigma` pixels."""

    name: ClassVar[str] = "blur"

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not self.sigma > 0.0:
            raise GraphpruneError(f"'blur': sigma={self.sigma} must be positive")

    def check(self, shape: Shape, domain: Domain) -> None:
        image_axes(shape, "'blur'")

    def along(self, x: Floats, domain: Domain) -> Along:
        from scipy.ndimage import gaussian_filter

        axes = image_axes(x.shape, "'blur'")
        blurred = gaussian_filter(x, self.sigma, mode="nearest", axes=axes)
        return Along.one(domain.clip(blurred) - x, 0.0, 1.0)
