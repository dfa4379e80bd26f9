"""Tighter pre-activation bounds, of a root before its tree grows and of a node now and then."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import (
    copied,
    first_parameters,
    neuron_row,
    nothing_assumed,
    with_own_bounds,
)
from graphprune.backends.relaxation.branching import BranchingRule, bound_node
from graphprune.backends.relaxation.kernels import (
    AscentSettings,
    InputRows,
    NetworkRelaxation,
    Parameters,
)
from graphprune.backends.relaxation.subproblem import (
    RATE,
    CondensedRegion,
    Subproblem,
    fix_stable,
)
from graphprune.progress import Progress, quiet
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LateLayerSettings:
    """Constants of the small branch and bounds of late layers.

    Attributes
    ----------
    first
        Layers from this one on are late: the two before are tight already.
    first_neurons, neurons
        So many at most, those that cost the open targets' bounds most: each takes two trees. After
        the first ones the targets are looked at again, as often nothing is left of them.
    share
        The share of the time left after which no other neuron is begun.
    nodes
        Most nodes for each bound.
    first_steps, steps
        Optimiser steps of the first node, and of all others, which start from their parents'
        parameters.
    """

    first: int = 2
    first_neurons: int = 12
    neurons: int = 64
    share: float = 0.15
    nodes: int = 12
    first_steps: int = 20
    steps: int = 6


@dataclass(frozen=True)
class ConstrainedSettings:
    """Constants of output-constrained bounds.

    Attributes
    ----------
    steps
        Optimiser steps of each bound.
    multiplier
        The row's multiplier at the start.
    gain
        Rounds go on while the widths fall by this share.
    neurons
        So many at most in a round, those that cost the row's bound most: a few of them carry most
        of the loss, and each takes as long as twenty nodes.
    block
        Neurons between two looks at the clock.
    """

    steps: int = 12
    multiplier: float = 0.5
    gain: float = 0.02
    neurons: int = 128
    block: int = 32


CONSTRAINED = ConstrainedSettings()


def late_layers(
    region: CondensedRegion,
    targets: Sequence[Subproblem],
    rule: BranchingRule,
    resources: Resources,
    settings: LateLayerSettings,
    neurons: int,
) -> tuple[CondensedRegion, int]:
    """Bound the late layers' heaviest neurons by small branch and bounds, the lower layers first.

    Parameters
    ----------
    targets
        Open ones on the region, by whose bounds neurons are ranked.
    neurons
        So many at most.

    Returns
    -------
    (region, nodes)
        The region with these bounds, and the nodes used.
    """
    used = 0
    relaxation = region.relaxation()
    rows = relaxation.rows
    first = rows.starts[min(settings.first, len(rows.starts) - 1)]
    loss = np.sum([relaxation_loss(target) for target in targets], axis=0)
    loss[:first] = 0.0
    heaviest = np.argsort(-loss, kind="stable")[:neurons]
    for neuron in np.sort(heaviest[loss[heaviest] > 0.0]).tolist():
        for sign in (1.0, -1.0):
            if resources.over:
                break
            bound, count = _neuron_bound(relaxation, neuron, sign, rule, settings)
            used += count
            if sign > 0:
                rows.lower[neuron] = max(rows.lower[neuron], min(bound, -kernels.TINY))
            else:
                rows.upper[neuron] = min(rows.upper[neuron], max(-bound, kernels.TINY))
    return region.tightened(rows), used


def late_steps(settings: LateLayerSettings) -> float:
    """Estimate late layers' bounds in optimiser steps over all rows."""
    # A node's branching takes about as long as its steps; a neuron has half of the rows below it.
    return float(settings.neurons * 2 * settings.nodes * settings.steps)


def relaxation_loss(case: Subproblem) -> Floats:
    """(neurons,) offsets of the neurons' upper lines as they count in a case's bound."""
    workspace = kernels.workspace_for(case.rows)
    kernels.linear_bound(case.relaxation, case.specification, 0.0, case.parameters, workspace)
    loss = upper_loss(case.rows.lower, case.rows.upper, workspace.coefficients[case.inputs :])
    return np.where(case.parameters.phases == 0, loss, 0.0)


def upper_loss(lower: Floats, upper: Floats, coefficients: Floats) -> Floats:
    """Return offsets of upper lines between some bounds, as they count with some coefficients."""
    low, high = np.minimum(lower, 0.0), np.maximum(upper, 0.0)
    offset: Floats = -low * high / np.maximum(high - low, kernels.TINY)
    return np.asarray(np.abs(coefficients) * offset)


def _neuron_bound(
    relaxation: NetworkRelaxation,
    neuron: int,
    sign: float,
    rule: BranchingRule,
    settings: LateLayerSettings,
) -> tuple[float, int]:
    """Bound sign z from below, by branch and bound until it is stable or its nodes are used."""
    rows = relaxation.rows
    goal = nothing_assumed(neuron_row(rows, neuron, sign))
    # Proven bound, tie-break, parameters.
    heap: list[tuple[float, int, Parameters]] = [(-np.inf, 0, first_parameters(rows))]
    done, count = np.inf, 0
    workspace = kernels.workspace_for(rows)
    while heap and heap[0][0] <= 0.0 and count < settings.nodes:
        proven, _, parent = heapq.heappop(heap)
        count += 1
        parameters = copied(parent)
        ascent = AscentSettings(settings.first_steps if count == 1 else settings.steps, RATE, 0.0)
        found = bound_node(relaxation, goal, parameters, ascent, rule, workspace)
        # Written so that NaN proves nothing.
        bound = found.bound if found.bound > proven else proven
        if bound > 0.0 or found.neuron < 0:
            done = min(done, bound)
            continue
        for phase in (kernels.ACTIVE, kernels.INACTIVE):
            phases, slopes = parameters.phases.copy(), parameters.slopes.copy()
            phases[found.neuron], slopes[found.neuron] = phase, 0.0
            child = Parameters(phases, slopes, parameters.cut_weights)
            heapq.heappush(heap, (bound, 2 * count + (phase > 0), child))
    return min([done, *(entry[0] for entry in heap)]), count


def constrained(
    case: Subproblem,
    parameters: Parameters,
    resources: Resources,
    first: int = 0,
    progress: Progress = quiet,
    settings: ConstrainedSettings = CONSTRAINED,
) -> Subproblem | None:
    """Bound the heaviest neurons from `first` on under the output constraint, layer by layer.

    The box first: the row's own linear bound cuts it.

    Returns
    -------
    Subproblem
        With these bounds; None where they prove that the row is positive in all of the case.
    """
    relaxation = with_own_bounds(case.relaxation)
    _cut_box(case, relaxation, parameters)
    ascent = AscentSettings(settings.steps, RATE, 0.0)
    neurons = np.arange(first, case.neurons)
    if len(neurons) > settings.neurons:
        loss = relaxation_loss(replace(case, parameters=parameters))[first:]
        neurons = first + np.sort(np.argsort(-loss, kind="stable")[: settings.neurons])
    workspace = kernels.workspace_for(relaxation.rows)
    # In blocks, so that a limit is heard.
    for start in range(0, len(neurons), settings.block):
        if resources.over:
            break
        progress(f"bounding neuron {start} of {len(neurons)}")
        if not kernels.tighten_neurons(
            relaxation, case.specification.goal, settings.multiplier,
            neurons[start : start + settings.block], parameters, ascent, workspace,
        ):  # fmt: skip
            return None
    return replace(case, relaxation=relaxation)


def with_input_rows(root: Subproblem, neurons: int) -> Subproblem:
    """Return a root with linear bounds of its heaviest neurons over the inputs, for `clipped`."""
    loss = relaxation_loss(root)
    heaviest = np.argsort(-loss, kind="stable")[:neurons]
    chosen = np.sort(heaviest[loss[heaviest] > 0.0])
    count = 2 * len(chosen)
    rows = InputRows(
        chosen, np.zeros((count, root.inputs)), np.zeros(count), np.zeros(count),
        np.zeros(count, np.int64), np.zeros(count, np.int64),
    )  # fmt: skip
    # Multipliers of the root's splits say nothing about its neurons.
    phases, slopes, weights = root.parameters
    own = Parameters(phases, np.where(phases == 0, slopes, 0.0), weights)
    kernels.input_rows(root.relaxation, own, rows, kernels.workspace_for(root.rows))
    return replace(root, input_rows=rows)


def clipped(case: Subproblem, parameters: Parameters) -> Subproblem | None:
    """Clip a node's box and the bounds of its root's heaviest neurons by the row's own bound.

    Parameters
    ----------
    parameters
        The node's, whose phases the bounds hold for.

    Returns
    -------
    Subproblem
        With these bounds; None where they prove that the row is positive in all of the case.
    """
    assert case.input_rows is not None
    relaxation = with_own_bounds(case.relaxation)
    kept = kernels.clip_neurons(
        relaxation, case.specification.goal, case.input_rows, parameters,
        kernels.workspace_for(relaxation.rows),
    )  # fmt: skip
    return replace(case, relaxation=relaxation) if kept else None


def constrained_steps(case: Subproblem, settings: ConstrainedSettings) -> float:
    """Estimate a round of output-constrained bounds in optimiser steps over all rows.

    Both bounds of every neuron that is taken: those of late layers have most rows below them.
    """
    neurons = min(int(np.count_nonzero(case.parameters.phases == 0)), settings.neurons)
    return 2.0 * neurons * (settings.steps + 1)


def _cut_box(case: Subproblem, relaxation: NetworkRelaxation, parameters: Parameters) -> None:
    """Shrink the relaxation's box, in place, by the row's linear bound with these parameters."""
    workspace = kernels.workspace_for(relaxation.rows)
    _, constant = kernels.linear_bound(relaxation, case.specification, 0.0, parameters, workspace)
    box = relaxation.box
    kernels.cut_box(workspace.coefficients, constant, box, box.lower, box.upper)


def constrain_root(
    root: Subproblem, resources: Resources, rounds: int, first: int = 0,
    progress: Progress = quiet, settings: ConstrainedSettings = CONSTRAINED,
) -> tuple[Subproblem, bool]:  # fmt: skip
    """Repeat output-constrained bounds of the heaviest neurons from `first` on while they gain.

    Neurons that they fix stay rows, split at the root: that z >= 0 (or <= 0) holds only for points
    with a row <= 0, so leaving the neuron's row out would lose the constraint.

    Returns
    -------
    (root, excluded)
        `excluded`: the row is proven positive; where the root's bound says so, its parameters are
        the proof.
    """
    for _ in range(rounds):
        before = root.width
        parameters = copied(root.parameters)
        case = constrained(root, parameters, resources, first, progress, settings)
        if case is None:
            return root, True
        fix_stable(case.rows, parameters)
        root = replace(case, parameters=parameters).optimised()
        if root.bound > 0.0:
            return root, True
        if resources.over or root.width > (1.0 - settings.gain) * before:
            break
    return root, False
