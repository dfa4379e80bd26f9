"""Smaller boxes of inputs and tighter pre-activation bounds."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels.ascent import ascend
from graphprune.backends.relaxation.kernels.ball import ball_cut
from graphprune.backends.relaxation.kernels.rows import add_row
from graphprune.backends.relaxation.kernels.types import (
    TINY,
    AscentSettings,
    Floats,
    LinearRow,
    NetworkRelaxation,
    NormBall,
    Parameters,
    RegionBox,
    Specification,
    Workspace,
)
from graphprune.runtime.jit import kernel, kernel_part


@kernel
def cut_box(
    coefficients: Floats, constant: float, box: RegionBox, lower: Floats, upper: Floats
) -> None:
    """Shrink the box to where coefficients . x + constant <= 0 can hold, one input at a time."""
    cut_in(coefficients, constant, box, box.ball, lower, upper)


@kernel_part
def cut_in(
    coefficients: Floats, constant: float, box: RegionBox, ball: NormBall | None, lower: Floats,
    upper: Floats,
) -> None:  # fmt: skip
    """Shrink the box of the one kind of region that this is compiled for."""
    if ball is None:
        cut_whole(coefficients, constant, box, lower, upper)
    else:
        ball_cut(coefficients, constant, box, ball, lower, upper)


@kernel_part
def cut_whole(
    coefficients: Floats, constant: float, box: RegionBox, lower: Floats, upper: Floats
) -> None:
    """Shrink a box that is all of the region.

    (Margin cut: with the other inputs at their best, |x_i - x*_i| <= slack / |a_i|.)
    """
    value = constant
    for i in range(len(lower)):
        value += min(coefficients[i] * box.lower[i], coefficients[i] * box.upper[i])
    slack = -value * (1.0 + 1e-9) + 1e-12 * (1.0 + abs(constant))
    if slack < 0.0:
        return
    for i in range(len(lower)):
        c = coefficients[i]
        if c > 1e-12:
            upper[i] = min(upper[i], box.lower[i] + slack / c * (1.0 + 1e-9))
        elif c < -1e-12:
            lower[i] = max(lower[i], box.upper[i] + slack / c * (1.0 + 1e-9))


@kernel
def tighten_neurons(
    relaxation: NetworkRelaxation,
    margin: LinearRow,
    multiplier: float,
    neurons: NDArray[np.int64],
    parameters: Parameters,
    ascent: AscentSettings,
    workspace: Workspace,
) -> bool:
    """Bound some neurons anew, in place; False: no point of the region has margin <= 0.

    With a `multiplier` > 0 the bounds hold for the points with margin <= 0 only (output-constrained
    bounds, Kotha et al. 2023, INVPROP), the multiplier optimised together with the slopes. Bounds
    that pass 0 stop there: the lines of a neuron that is stable by then are exact.
    """
    rows = relaxation.rows
    for j in neurons:
        for sign in (1.0, -1.0):
            if parameters.phases[j] != 0 or rows.lower[j] >= -TINY or rows.upper[j] <= TINY:
                continue
            row = np.zeros(len(workspace.point))
            add_row(rows, j, sign, row)
            goal = LinearRow(row, sign * rows.offset[j], rows.error[j])
            own = Parameters(
                parameters.phases, parameters.slopes.copy(), parameters.cut_weights.copy()
            )
            bound, _, _, _ = ascend(
                relaxation, Specification(goal, margin), multiplier, own, ascent, workspace
            )
            if sign > 0:
                if bound > rows.upper[j]:
                    return False
                rows.lower[j] = max(rows.lower[j], min(bound, -TINY))
            else:
                if -bound < rows.lower[j]:
                    return False
                rows.upper[j] = min(rows.upper[j], max(-bound, TINY))
    return True
