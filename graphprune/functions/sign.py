"""The sign."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, sign
from graphprune.functions.jump import Jump
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Sign(Jump):
    """-1 below 0, 0 at 0, 1 above."""

    onnx: ClassVar[str] = "Sign"

    def value(self, z: T) -> T:
        return sign(z)

    def slope(self, z: T) -> T:
        return 1.0 / (1.0 + z * z)
