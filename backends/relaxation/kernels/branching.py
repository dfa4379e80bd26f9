"""The split of a node: what it would change of the bound, and the children's own bounds."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels.backward import (
    dot,
    evaluate_network,
    linear_bound,
)
from graphprune.backends.relaxation.kernels.ball import Standing, ball_change, ball_standing
from graphprune.backends.relaxation.kernels.neuron import relax_neuron
from graphprune.backends.relaxation.kernels.rows import add_row, add_row_and_plane
from graphprune.backends.relaxation.kernels.types import (
    ChildBounds,
    CondensedRows,
    Floats,
    NetworkRelaxation,
    NormBall,
    Parameters,
    RegionBox,
    Specification,
    Split,
    Workspace,
)
from graphprune.runtime.jit import fast_part, kernel, kernel_part, named

# The offset of an upper line counts beside the loss at the minimiser: a split removes it. That of
# a lower line does not change the bound, only what slopes are worth.
UPPER_SHARE, LOWER_SHARE = 0.3, 0.05


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
    delta: Floats,
    standing: Standing,
) -> float:
    """Return how much the bound changes when neuron j is split to `phase` with multiplier 0.

    Only coefficients below j change: what does is pushed down through the neurons that it reaches.

    Parameters
    ----------
    delta
        Zeros, of the basis' size; zeros again afterwards.
    standing
        The one of the workspace's coefficients, by `standing_of`.
    """
    rows, planes, _ = relaxation
    n = rows.inputs
    change = 0.0
    i = j
    # Neurons of the same layer do not reach each other.
    below = rows.starts[rows.layer[j]] - 1
    while i >= 0:
        if i == j or delta[n + i] != 0.0:
            old = workspace.coefficients[n + i]
            own, slope = parameters.phases[i], parameters.slopes[i]
            if i == j:
                own, slope = phase, 0.0
            weight = parameters.cut_weights[i] if planes.has[i] else 0.0
            low = rows.lower[i]
            m, p, constant = relax_neuron(
                old + delta[n + i], own, slope, weight, low, rows.upper[i]
            )
            delta[n + i] = 0.0
            if parameters.phases[i] == 0 and old < 0.0:
                constant += workspace.row_multipliers[i] * low
            dm = m - workspace.row_multipliers[i]
            dp = p - workspace.plane_multipliers[i]
            change += constant + dm * rows.offset[i]
            if dp != 0.0:
                change += dp * planes.offset[i]
                add_row_and_plane(rows, planes, i, dm, dp, delta)
            elif dm != 0.0:
                add_row(rows, i, dm, delta)
        i = below if i == j else i - 1
    box = relaxation.box
    return change + change_in(box, box.ball, workspace, delta, standing)


@kernel_part
def standing_in(box: RegionBox, ball: NormBall | None, workspace: Workspace) -> Standing:
    """Return what all changes of the minimum are measured from, once for all of them."""
    if ball is None:
        return 0.0, 0.0
    return ball_standing(workspace.coefficients, box, ball)


@kernel
def standing_of(relaxation: NetworkRelaxation, workspace: Workspace) -> Standing:
    """Return what the changes of a bound's minimum are measured from."""
    box = relaxation.box
    return standing_in(box, box.ball, workspace)


@kernel_part
def change_in(
    box: RegionBox, ball: NormBall | None, workspace: Workspace, delta: Floats, standing: Standing
) -> float:
    """Return how much the inputs' part of the bound changes; clear the inputs' changes."""
    if ball is None:
        return minimum_change(box, workspace, delta)
    return ball_change(workspace.coefficients, box, ball, delta, standing)


@fast_part
def minimum_change(box: RegionBox, workspace: Workspace, delta: Floats) -> float:
    """Return how much the least value over the box changes; clear the inputs' changes."""
    change = 0.0
    for i in range(len(box.lower)):
        old = workspace.coefficients[i]
        new = old + delta[i]
        low, high = box.lower[i], box.upper[i]
        change += min(new * low, new * high) - min(old * low, old * high)
        delta[i] = 0.0
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
    """Choose among up to `most` neurons by what both children's bounds lack to `stop` together.

    A bound is concave in the lines that it uses, so what a split changes at the minimiser is at
    least what it changes of the bound: children that cannot be the best ones are not bounded.
    """
    n = relaxation.rows.inputs
    order = candidates(relaxation.rows, parameters.phases, workspace, most)
    count = len(order)
    at_most, active_most, inactive_most = np.empty(count), np.empty(count), np.empty(count)
    for q in range(count):
        j = order[q]
        c, h = workspace.coefficients[n + j], workspace.point[n + j]
        active_most[q] = min(bound - stop + c * (workspace.pre_activations[j] - h), 0.0)
        inactive_most[q] = min(bound - stop - c * h, 0.0)
        at_most[q] = active_most[q] + inactive_most[q]
    delta = np.zeros(len(workspace.coefficients))
    best, best_score = -1, -np.inf
    best_active = best_inactive = bound
    standing = standing_of(relaxation, workspace)
    for q in np.argsort(-at_most):
        j = order[q]
        if at_most[q] <= best_score:
            break
        active = bound + child_change(relaxation, parameters, workspace, j, 1, delta, standing)
        score = min(active - stop, 0.0)
        if score + inactive_most[q] <= best_score:
            continue
        inactive = bound + child_change(relaxation, parameters, workspace, j, -1, delta, standing)
        score += min(inactive - stop, 0.0)
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
