"""Directions from a file: any matrix B."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.errors import GraphpruneError
from graphprune.region import Domain
from graphprune.threats.base import Along, Directions, Floats, Shape
from graphprune.threats.numbers import Numbers
from graphprune.threats.registry import register_threat


@register_threat
@dataclass(frozen=True)
class Subspace(Directions):
    """x = x0 + B z with a matrix B of a file: principal components, a universal perturbation.

    B is (elements, k); or k directions of a sample's shape, or (k, elements), or one direction.
    A square matrix has its directions in columns.
    """

    name: ClassVar[str] = "subspace"

    file: Numbers

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", Numbers(self.file))

    def check(self, shape: Shape, domain: Domain) -> None:
        if not np.any(self._steps(shape).reshape(-1, int(np.prod(shape))), axis=1).all():
            raise GraphpruneError(f"'subspace': {self.file} has a direction that is zero")

    def _steps(self, shape: Shape) -> Floats:
        b, size = self.file.floats, int(np.prod(shape))
        if b.ndim == 2 and b.shape[0] == size:
            return np.ascontiguousarray(b.T).reshape(-1, *shape)
        if shape in (b.shape, b.shape[1:]) or (b.ndim == 2 and b.shape[1] == size):
            return b.reshape(-1, *shape)
        raise GraphpruneError(
            f"'subspace': {self.file} has shape {b.shape}; for samples of shape {shape} a matrix"
            f" ({size}, k) is needed, or directions (k, {', '.join(map(str, shape))})"
        )

    def along(self, x: Floats, domain: Domain) -> Along:
        steps = self._steps(x.shape)
        return Along(steps, np.full(len(steps), -np.inf), np.full(len(steps), np.inf))
