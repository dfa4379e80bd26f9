"""A case of a tree: a target with some neurons split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.specification import Target
from graphprune.backends.trace import Path

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# Bytes of a node's Python objects: itself, arrays' headers, numbers, path, place in a heap.
OBJECTS = 900


@dataclass(eq=False, slots=True)
class Node:
    """A case: some neurons split.

    Attributes
    ----------
    target
        With bounds and a box that hold in this case.
    bound, radius
        The parent's bound on the ball; the radius proven for the case.
    estimate
        Orders the nodes.
    state, theta, mix
        Splits and parameters, as in :mod:`graphprune.backends.relaxation.kernels`; `mix` is empty
        where the target has no planes.
    fresh, dry
        Splits since the target's bounds were computed, and since the last linear program.
    path
        Its splits in order: (path before, row, phase), None at the root.
    """

    target: Target
    bound: float
    radius: float
    estimate: float
    state: NDArray[np.int8]
    theta: Singles
    mix: Singles
    fresh: int = 0
    path: Path = None
    dry: int = 0

    def parameters(self) -> tuple[Floats, Floats]:
        """Copies of `theta` and `mix`, for the kernels."""
        theta, mix = self.theta.astype(np.float64), self.mix.astype(np.float64)
        return theta, mix if len(mix) else np.zeros(len(theta))

    def weights(self, mix: Floats) -> Singles:
        """`mix` as a node of the same tree keeps it."""
        return mix.astype(np.float32) if len(self.mix) else self.mix

    @property
    def bytes(self) -> int:
        """Memory of an open case, without its target's; parameters may be shared with a sibling."""
        return OBJECTS + self.state.nbytes + self.theta.nbytes + self.mix.nbytes


def root_of(target: Target) -> Node:
    """The case of a target in which nothing is split but what its bounds have fixed."""
    mix = target.mix if np.any(target.planes.has) else target.mix[:0]
    return Node(
        target, target.bound, target.radius, target.radius, target.state.copy(),
        target.theta.astype(np.float32), mix.astype(np.float32),
    )  # fmt: skip
