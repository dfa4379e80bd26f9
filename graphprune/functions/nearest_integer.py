"""Rounding to the nearest integer."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, nearest
from graphprune.functions.jump import Jump
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class NearestInteger(Jump):
    """The nearest integer, the even one of two."""

    onnx: ClassVar[str] = "Round"

    def value(self, z: T) -> T:
        return nearest(z)
