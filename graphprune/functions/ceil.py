"""Rounding up."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.calculus import T, ceil
from graphprune.functions.jump import Jump
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Ceil(Jump):
    """The smallest integer that is no smaller than z."""

    onnx: ClassVar[str] = "Ceil"

    def value(self, z: T) -> T:
        return ceil(z)
