"""Bounding one node of a branch and bound over neurons' phases, and what a branching rule is."""

from typing import NamedTuple, Protocol

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.kernels import (
    AscentSettings,
    ChildBounds,
    NetworkRelaxation,
    Parameters,
    Specification,
    Split,
    Workspace,
)


class BranchingRule(Protocol):
    """Chooses the neuron that a node is split at."""

    def choose(
        self,
        relaxation: NetworkRelaxation,
        parameters: Parameters,
        workspace: Workspace,
        bound: float,
        stop: float,
    ) -> Split:
        """Return an unsplit neuron, or -1 where no split would help.

        Parameters
        ----------
        parameters
            With which the node is bounded.
        workspace
            The last pass with them, and what was evaluated after it.
        bound, stop
            The node's bound; a case is closed when its bound is above `stop`.
        """
        ...


class NodeBound(NamedTuple):
    """A bounded node.

    Attributes
    ----------
    bound, radius
        Proven of the node: the least value of the goal, and that none <= 0 is nearer.
    neuron
        Where to split it; -1: nothing to split, or nothing left to do.
    children
        The bounds of this split's children; None where the node is closed.
    """

    bound: float
    radius: float
    neuron: int
    children: ChildBounds | None


def bound_node(
    relaxation: NetworkRelaxation,
    specification: Specification,
    parameters: Parameters,
    ascent: AscentSettings,
    rule: BranchingRule,
    workspace: Workspace,
) -> NodeBound:
    """Optimise a node's bound, and choose a split where it does not pass the ascent's `stop`.

    The parameters become the best ones, the workspace's point the inputs where the bound is least
    and the network's neurons there.
    """
    stop = ascent.stop
    found = kernels.optimise(relaxation, specification, 0.0, parameters, ascent, workspace)
    if found.value > stop:
        return NodeBound(found.value, found.radius, -1, None)
    split = rule.choose(relaxation, parameters, workspace, found.value, stop)
    children = kernels.bound_children(relaxation, specification, parameters, workspace, split, stop)
    return NodeBound(found.value, found.radius, split.neuron, children)
