"""Filtered strong branching: the bounds of both children, estimated for the best candidates."""

from dataclasses import dataclass

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.kernels import NetworkRelaxation, Parameters, Split, Workspace


@dataclass(frozen=True)
class StrongBranching:
    """Estimate both children's bounds for the neurons whose relaxation loses most.

    The neuron is taken whose children lack least to being closed, over both together.

    Attributes
    ----------
    candidates
        Neurons whose children are bounded.
    """

    candidates: int = 24

    def choose(
        self,
        relaxation: NetworkRelaxation,
        parameters: Parameters,
        workspace: Workspace,
        bound: float,
        stop: float,
    ) -> Split:
        return kernels.strong_branching(
            relaxation, parameters, workspace, bound, stop, self.candidates
        )
