"""Shares of a whole, by their logarithms."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.functions.exp import Exp
from graphprune.operators.registry import register


@register
@dataclass(frozen=True)
class Share(Exp):
    """exp(z) of a logarithm of a share: z is at most 0, whatever its bounds say."""

    known: ClassVar[tuple[float, float]] = (-float("inf"), 0.0)
