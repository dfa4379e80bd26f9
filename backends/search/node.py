"""A node of a tree: a subproblem with some neurons split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels import Parameters
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.trace import Path

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# Bytes of a node's Python objects: itself, arrays' headers, numbers, path, place in a heap.
OBJECTS = 1250


@dataclass(eq=False, slots=True)
class TreeNode:
    """A case: some neurons split.

    Attributes
    ----------
    case
        The subproblem, with bounds and a box that hold here.
    radius
        Proven for the case: no point of it with a row <= 0 is nearer.
    estimate
        Orders the nodes.
    phases, slopes, cut_weights
        Splits and parameters, as in :class:`graphprune.backends.relaxation.kernels.Parameters`;
        `cut_weights` is empty where the subproblem has no planes.
    since_bounds, since_lp
        Splits since the subproblem's bounds were computed, and since the last linear program.
    path
        Its splits in order: (path before, row, phase), None at the root.
    """

    case: Subproblem
    radius: float
    estimate: float
    phases: NDArray[np.int8]
    slopes: Singles
    cut_weights: Singles
    since_bounds: int = 0
    path: Path = None
    since_lp: int = 0

    def parameters(self) -> Parameters:
        """Return copies of the parameters, for the kernels."""
        slopes, weights = self.slopes.astype(np.float64), self.cut_weights.astype(np.float64)
        if not len(weights):
            weights = np.zeros(len(slopes))
        return Parameters(self.phases.copy(), slopes, weights)

    def singles(self, parameters: Parameters) -> tuple[Singles, Singles]:
        """Return slopes and cut weights as a node of the same tree keeps them."""
        weights = self.cut_weights
        if len(weights):
            weights = parameters.cut_weights.astype(np.float32)
        return parameters.slopes.astype(np.float32), weights

    @property
    def bytes(self) -> int:
        """Memory of an open case, without its subproblem's; siblings may share parameters."""
        return OBJECTS + self.phases.nbytes + self.slopes.nbytes + self.cut_weights.nbytes


def root_of(case: Subproblem, estimate: float) -> TreeNode:
    """Return the node in which nothing is split but what the bounds have fixed."""
    phases, slopes, weights = case.parameters
    weights = weights if case.has_planes else weights[:0]
    return TreeNode(
        case, case.radius, estimate, phases.copy(), slopes.astype(np.float32),
        weights.astype(np.float32),
    )  # fmt: skip
