"""The split of a node: what it would change of the bound, and the children's own bounds."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels.backward import (
    dot,
    evaluate_network,
    linear_bound,
)
from graphprune.backends.relaxation.kernels.neuron import relax_neuron
from graphprune.backends.relaxation.kernels.types import (
    ChildBounds,
    CondensedRows,
    Floats,
    NetworkRelaxation,
    Parameters,
    Specification,
    Split,
    Workspace,
)
from graphprune.runtime.jit import kernel, named

# The offset of an upper line counts beside the loss at the minimiser: a split removes it. That of
# a lower line does not change the bound, only what slopes are worth.
UPPER_SHARE, LOWER_SHARE = 0.3, 0.05


class Changes(NamedTuple):
    """Notes of `child_change` on its way down; `delta` and `marked` are zero in between.

    Attributes
    ----------
    delta
        Changes of the basis' coefficients.
    marked
        Where there is one.
    neurons, inputs
        The neurons (by layer) and inputs that are marked.
    counts
        Number of neurons that are, by layer.
    """

    delta: Floats
    marked: NDArray[np.uint8]
    neurons: NDArray[np.int64]
    inputs: NDArray[np.int64]
    counts: NDArray[np.int64]


@kernel
def changes_for(rows: CondensedRows) -> Changes:
    """Return memory for `child_change`."""
    m = len(rows.offset)
    size = rows.inputs + m
    return Changes(
        np.zeros(size), np.zeros(size, np.uint8), np.empty(m, np.int64),
        np.empty(rows.inputs, np.int64), np.zeros(len(rows.starts) - 1, np.int64),
    )  # fmt: skip


@kernel
def candidates(
    rows: CondensedRows, phases: NDArray[np.int8], workspace: Workspace, most: int
) -> NDArray[np.int64]:
    """Return up to `most` unsplit neurons by what their relaxation loses, the greatest loss first.

    The loss at the minimiser, and a share of the offset that a split removes (BaBSR, Bunel et al.
    2020).
    """
    n = rows.inputs
    m = len(rows.offset)
    score = np.zeros(m)
    for j in range(m):
        if phases[j] != 0:
            continue
        c = workspace.coefficients[n + j]
        if c == 0.0:
            continue
        low, high = rows.lower[j], rows.upper[j]
        gap = abs(c * (workspace.point[n + j] - max(workspace.pre_activations[j], 0.0)))
        intercept = abs(c) * high * (-low) / (high - low)
        score[j] = gap + (UPPER_SHARE * intercept if c < 0.0 else LOWER_SHARE * intercept)
    order = np.argsort(-score)
    count = 0
    while count < min(most, m) and score[order[count]] > 0.0:
        count += 1
    return order[:count]


@kernel
def child_change(
    relaxation: NetworkRelaxation,
    parameters: Parameters,
    workspace: Workspace,
    j: int,
    phase: int,
    changes: Changes,
) -> float:
    """Return how much the bound changes when neuron j is split to `phase` with multiplier 0.

    Only coefficients below j change, and rows are sparse: the change is pushed down layer by layer
    through the neurons it touches.
    """
    rows, planes, _ = relaxation
    n = rows.inputs
    counts = changes.counts
    counts[:] = 0
    reached = 0
    change = 0.0
    top = rows.layer[j]
    i = j
    layer = top
    position = 0
    while True:
        # One neuron: how its multiples of row and plane change.
        old = workspace.coefficients[n + i]
        own, slope = parameters.phases[i], parameters.slopes[i]
        if i == j:
            own, slope = phase, 0.0
        weight = parameters.cut_weights[i] if planes.has[i] else 0.0
        low = rows.lower[i]
        m, p, constant = relax_neuron(
            old + changes.delta[n + i], own, slope, weight, low, rows.upper[i]
        )
        if parameters.phases[i] == 0 and old < 0.0:
            constant += workspace.row_multipliers[i] * low
        dm = m - workspace.row_multipliers[i]
        dp = p - workspace.plane_multipliers[i]
        constant += dm * rows.offset[i]
        if dp != 0.0:
            constant += dp * planes.offset[i]
        change += constant
        if dm != 0.0 or dp != 0.0:
            reached = push_change(relaxation, i, dm, dp, changes, reached)
        # The next touched neuron, layer by layer from the top.
        if layer == top:
            layer -= 1
            position = 0
        while layer >= 0 and position >= counts[layer]:
            layer -= 1
            position = 0
        if layer < 0:
            break
        i = changes.neurons[rows.starts[layer] + position]
        position += 1
    return finish_change(relaxation, workspace, changes, reached, change)


@kernel
def push_change(
    relaxation: NetworkRelaxation, i: int, dm: float, dp: float, changes: Changes, reached: int
) -> int:
    """Add multiples of neuron i's row and plane to the changes; the number of inputs reached."""
    rows, planes, _ = relaxation
    n = rows.inputs
    for k in range(rows.indptr[i], rows.indptr[i + 1]):
        t = rows.indices[k]
        d = dm * rows.values[k]
        if dp != 0.0:
            d += dp * planes.values[k]
        changes.delta[t] += d
        if not changes.marked[t]:
            changes.marked[t] = 1
            if t < n:
                changes.inputs[reached] = t
                reached += 1
            else:
                below = rows.layer[t - n]
                changes.neurons[rows.starts[below] + changes.counts[below]] = t - n
                changes.counts[below] += 1
    return reached


@kernel
def finish_change(
    relaxation: NetworkRelaxation,
    workspace: Workspace,
    changes: Changes,
    reached: int,
    change: float,
) -> float:
    """Add what the reached inputs' minima change to the change so far; clear the changes."""
    rows, _, box = relaxation
    for q in range(reached):
        i = changes.inputs[q]
        old = workspace.coefficients[i]
        new = old + changes.delta[i]
        change += min(new * box.lower[i], new * box.upper[i])
        change -= min(old * box.lower[i], old * box.upper[i])
        changes.delta[i] = 0.0
        changes.marked[i] = 0
    for layer in range(len(changes.counts)):
        for q in range(changes.counts[layer]):
            t = rows.inputs + changes.neurons[rows.starts[layer] + q]
            changes.delta[t] = 0.0
            changes.marked[t] = 0
    return change


@named(Split)
@kernel
def strong_branching(
    relaxation: NetworkRelaxation,
    parameters: Parameters,
    workspace: Workspace,
    bound: float,
    stop: float,
    most: int,
) -> tuple[int, float, float]:
    """Choose among up to `most` neurons by what both children's bounds lack to `stop` together."""
    order = candidates(relaxation.rows, parameters.phases, workspace, most)
    changes = changes_for(relaxation.rows)
    best, best_score = -1, -np.inf
    best_active = best_inactive = bound
    for q in range(len(order)):
        j = order[q]
        active = bound + child_change(relaxation, parameters, workspace, j, 1, changes)
        inactive = bound + child_change(relaxation, parameters, workspace, j, -1, changes)
        score = min(active - stop, 0.0) + min(inactive - stop, 0.0)
        if score > best_score:
            best, best_score = j, score
            best_active, best_inactive = active, inactive
    return best, best_active, best_inactive


@named(ChildBounds)
@kernel
def bound_children(
    relaxation: NetworkRelaxation,
    specification: Specification,
    parameters: Parameters,
    workspace: Workspace,
    split: Split,
    stop: float,
) -> tuple[float, bool, float, bool, float]:
    """Prove the children that a split is expected to close, by a pass each.

    The point keeps its inputs; its neurons become the network's own values there.
    """
    phases, slopes, _ = parameters
    neuron, active, inactive = split
    active_closed = inactive_closed = False
    if neuron >= 0:
        other = Workspace(
            workspace.coefficients, np.empty(len(workspace.point)), workspace.row_multipliers,
            workspace.plane_multipliers, workspace.pre_activations, workspace.plane_values,
        )  # fmt: skip
        old = slopes[neuron]
        slopes[neuron] = 0.0
        if active > stop:
            phases[neuron] = 1
            active, _ = linear_bound(relaxation, specification, 0.0, parameters, other)
            active_closed = active > stop
        if inactive > stop:
            phases[neuron] = -1
            inactive, _ = linear_bound(relaxation, specification, 0.0, parameters, other)
            inactive_closed = inactive > stop
        phases[neuron] = 0
        slopes[neuron] = old
    evaluate_network(relaxation.rows, workspace.point)
    value = dot(specification.goal.row, workspace.point) + specification.goal.offset
    return active, active_closed, inactive, inactive_closed, value
