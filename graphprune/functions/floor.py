"""Rounding down."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, floor
from graphprune.functions.jump import Jump
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Floor(Jump):
    """The largest integer that is no larger than z."""

    onnx: ClassVar[str] = "Floor"

    def value(self, z: T) -> T:
        return floor(z)
