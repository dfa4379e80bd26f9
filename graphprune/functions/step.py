"""The step of a comparison."""

from dataclasses import dataclass

from graphprune.functions.calculus import T, above
from graphprune.functions.jump import Jump
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Step(Jump):
    """0 below 0, 1 above, at 0 itself `at`: z > 0 with 0, z >= 0 with 1.

    Attributes
    ----------
    at
        0.0 or 1.0.
    """

    at: float = 0.0

    def value(self, z: T) -> T:
        if self.at:
            return 1.0 - above(-z, 0.0, 1.0, 0.0)
        return above(z, 0.0, 1.0, 0.0)

    def slope(self, z: T) -> T:
        return 1.0 / (1.0 + z * z)
