"""Kernels as Python calls them: results are made into named tuples here, not in compiled code.

A named tuple is made by Python code, in which Ctrl-C may be heard; compiled code that makes one for
its caller does not expect an exception there, and the process would crash.
"""

import numpy as np

from graphprune.backends.relaxation.kernels.ascent import optimise as ascend
from graphprune.backends.relaxation.kernels.branching import bound_children as prove_children
from graphprune.backends.relaxation.kernels.branching import strong_branching as choose
from graphprune.backends.relaxation.kernels.types import (
    AscentSettings,
    ChildBounds,
    CondensedRows,
    NetworkRelaxation,
    OptimisedBound,
    Parameters,
    Specification,
    Split,
    Workspace,
)
from graphprune.runtime.jit import kernel


def workspace_for(rows: CondensedRows) -> Workspace:
    """Return memory for one pass over these rows."""
    m = len(rows.offset)
    return Workspace(*(np.empty(n) for n in (rows.inputs + m, rows.inputs + m, m, m, m, m)))


def optimise(
    relaxation: NetworkRelaxation,
    specification: Specification,
    multiplier: float,
    parameters: Parameters,
    ascent: AscentSettings,
    workspace: Workspace,
) -> OptimisedBound:
    """Maximise the bound of a specification over the parameters, in place.

    See :func:`graphprune.backends.relaxation.kernels.ascent.optimise`.
    """
    found = _optimise(relaxation, specification, multiplier, parameters, ascent, workspace)
    return OptimisedBound(*found)


def strong_branching(
    relaxation: NetworkRelaxation,
    parameters: Parameters,
    workspace: Workspace,
    bound: float,
    stop: float,
    most: int,
) -> Split:
    """Choose among up to `most` neurons by what both children's bounds lack to `stop` together."""
    return Split(*_strong_branching(relaxation, parameters, workspace, bound, stop, most))


def bound_children(
    relaxation: NetworkRelaxation,
    specification: Specification,
    parameters: Parameters,
    workspace: Workspace,
    split: Split,
    stop: float,
) -> ChildBounds:
    """Prove the children that a split is expected to close, by a pass each.

    The point keeps its inputs; its neurons become the network's own values there.
    """
    found = _bound_children(relaxation, specification, parameters, workspace, split, stop)
    return ChildBounds(*found)


@kernel
def _optimise(
    relaxation: NetworkRelaxation,
    specification: Specification,
    multiplier: float,
    parameters: Parameters,
    ascent: AscentSettings,
    workspace: Workspace,
) -> tuple[float, float, float, float]:
    found = ascend(relaxation, specification, multiplier, parameters, ascent, workspace)
    return found.value, found.multiplier, found.constant, found.radius


@kernel
def _strong_branching(
    relaxation: NetworkRelaxation,
    parameters: Parameters,
    workspace: Workspace,
    bound: float,
    stop: float,
    most: int,
) -> tuple[int, float, float]:
    split = choose(relaxation, parameters, workspace, bound, stop, most)
    return split.neuron, split.active, split.inactive


@kernel
def _bound_children(
    relaxation: NetworkRelaxation,
    specification: Specification,
    parameters: Parameters,
    workspace: Workspace,
    split: Split,
    stop: float,
) -> tuple[float, bool, float, bool, float]:
    found = prove_children(
        relaxation, specification, parameters, workspace, split, stop
    )  # fmt: skip
    return (
        found.active, found.active_closed, found.inactive, found.inactive_closed, found.value,
    )  # fmt: skip
