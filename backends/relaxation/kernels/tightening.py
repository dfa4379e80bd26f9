"""Smaller boxes of inputs and tighter pre-activation bounds."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels.ascent import optimise
from graphprune.backends.relaxation.kernels.types import TINY, Floats, Goal, Planes, Region, Rows
from graphprune.runtime.jit import kernel


@kernel
def cut_box(a: Floats, constant: float, region: Region, lower: Floats, upper: Floats) -> None:
    """Shrink the box to where a . x + constant <= 0 can hold, one input at a time.

    (Margin cut: with the other inputs at their best, |x_i - x*_i| <= slack / |a_i|.)
    """
    value = constant
    for i in range(len(lower)):
        value += min(a[i] * region.lower[i], a[i] * region.upper[i])
    slack = -value * (1.0 + 1e-9) + 1e-12 * (1.0 + abs(constant))
    if slack < 0.0:
        return
    for i in range(len(lower)):
        c = a[i]
        if c > 1e-12:
            upper[i] = min(upper[i], region.lower[i] + slack / c * (1.0 + 1e-9))
        elif c < -1e-12:
            lower[i] = max(lower[i], region.upper[i] + slack / c * (1.0 + 1e-9))


@kernel
def tighten(
    rows: Rows,
    planes: Planes,
    region: Region,
    margin: Goal,
    gamma: float,
    first: int,
    last: int,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    steps: int,
    rate: float,
) -> bool:
    """Bound neurons first..last-1 anew, in place; False: no point of the region has margin <= 0.

    With `gamma` > 0 the bounds hold for the points with margin <= 0 only (output-constrained
    bounds, Kotha et al. 2023, INVPROP), the multiplier optimised together with the slopes. Bounds
    that pass 0 stop there: the lines of a neuron that is stable by then are exact.
    """
    n = rows.inputs
    m = len(rows.offset)
    size = n + m
    a, v = np.empty(size), np.empty(size)
    lam, pi, z = np.empty(m), np.empty(m), np.empty(m)
    constrained = gamma > 0.0
    for j in range(first, last):
        for sign in (1.0, -1.0):
            if state[j] != 0 or rows.lower[j] >= -TINY or rows.upper[j] <= TINY:
                continue
            row = np.zeros(size)
            for k in range(rows.indptr[j], rows.indptr[j + 1]):
                row[rows.indices[k]] = sign * rows.values[k]
            goal = Goal(
                row, sign * rows.offset[j], rows.error[j],
                margin.row, margin.offset, margin.error,
            )  # fmt: skip
            t, w = theta.copy(), mix.copy()
            bound, _, _, _ = optimise(
                rows, planes, region, goal, gamma, constrained, state, t, w, steps, rate, 0.0,
                a, v, lam, pi, z,
            )  # fmt: skip
            if sign > 0:
                if bound > rows.upper[j]:
                    return False
                rows.lower[j] = max(rows.lower[j], min(bound, -TINY))
            else:
                if -bound < rows.lower[j]:
                    return False
                rows.upper[j] = min(rows.upper[j], max(-bound, TINY))
    return True
