"""The split of a node: what it would change of the bound, and the best one."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels.ascent import optimise
from graphprune.backends.relaxation.kernels.backward import bound_once, dot, evaluate
from graphprune.backends.relaxation.kernels.types import Floats, Goal, Planes, Region, Rows
from graphprune.runtime.jit import kernel


@kernel
def candidates(
    rows: Rows, state: NDArray[np.int8], a: Floats, v: Floats, z: Floats, most: int
) -> NDArray[np.int64]:
    """Unsplit neurons by what their relaxation loses, the most promising first.

    The loss at the minimiser, and a share of the offset that a split removes (BaBSR, Bunel et al.
    2020).
    """
    n = rows.inputs
    m = len(rows.offset)
    score = np.zeros(m)
    for j in range(m):
        if state[j] != 0:
            continue
        c = a[n + j]
        if c == 0.0:
            continue
        low, high = rows.lower[j], rows.upper[j]
        gap = abs(c * (v[n + j] - max(z[j], 0.0)))
        intercept = abs(c) * high * (-low) / (high - low)
        score[j] = gap + (0.3 * intercept if c < 0.0 else 0.05 * intercept)
    order = np.argsort(-score)
    count = 0
    while count < min(most, m) and score[order[count]] > 0.0:
        count += 1
    return order[:count]


@kernel
def child_change(
    rows: Rows,
    planes: Planes,
    region: Region,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    a: Floats,
    lam: Floats,
    pi: Floats,
    j: int,
    phase: int,
    delta: Floats,
    marked: NDArray[np.uint8],
    touched: NDArray[np.int64],
    inputs: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> float:
    """How much the bound changes when neuron j is split to `phase` with multiplier 0.

    Only coefficients below j change, and rows are sparse: the change is pushed down layer by layer
    through the neurons it touches. `delta` and `marked` are zero before and after.
    """
    n = rows.inputs
    layers = len(starts) - 1
    counts = np.zeros(layers, np.int64)
    reached = 0
    change = 0.0
    top = rows.layer[j]
    current = j
    layer = top
    position = 0
    while True:
        # One neuron: how its multiples of row and plane change.
        i = current
        c_new = a[n + i] + delta[n + i]
        c_old = a[n + i]
        low = rows.lower[i]
        m_new = p_new = 0.0
        constant = 0.0
        if i == j:
            m_new = c_new if phase == 1 else 0.0
        elif state[i] == 0:
            if c_new > 0.0:
                m_new = c_new * theta[i]
            elif c_new < 0.0:
                w = mix[i] if planes.has[i] else 0.0
                m_new = c_new * (1.0 - w) * (rows.upper[i] / (rows.upper[i] - low))
                p_new = c_new * w
                constant -= m_new * low
        elif state[i] == 1:
            m_new = c_new - theta[i]
        else:
            m_new = theta[i]
        if state[i] == 0 and c_old < 0.0:
            constant += lam[i] * low
        dm, dp = m_new - lam[i], p_new - pi[i]
        constant += dm * rows.offset[i]
        if dp != 0.0:
            constant += dp * planes.offset[i]
        change += constant
        if dm != 0.0 or dp != 0.0:
            for k in range(rows.indptr[i], rows.indptr[i + 1]):
                t = rows.indices[k]
                d = dm * rows.values[k]
                if dp != 0.0:
                    d += dp * planes.values[k]
                delta[t] += d
                if not marked[t]:
                    marked[t] = 1
                    if t < n:
                        inputs[reached] = t
                        reached += 1
                    else:
                        below = rows.layer[t - n]
                        touched[starts[below] + counts[below]] = t - n
                        counts[below] += 1
        # The next touched neuron, layer by layer from the top.
        if layer == top:
            layer -= 1
            position = 0
        while layer >= 0 and position >= counts[layer]:
            layer -= 1
            position = 0
        if layer < 0:
            break
        current = touched[starts[layer] + position]
        position += 1
    for q in range(reached):
        i = inputs[q]
        old, new = a[i], a[i] + delta[i]
        change += min(new * region.lower[i], new * region.upper[i])
        change -= min(old * region.lower[i], old * region.upper[i])
        delta[i] = 0.0
        marked[i] = 0
    for below in range(layers):
        for q in range(counts[below]):
            t = n + touched[starts[below] + q]
            delta[t] = 0.0
            marked[t] = 0
    return float(change)


@kernel
def choose(
    rows: Rows,
    planes: Planes,
    region: Region,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    a: Floats,
    lam: Floats,
    pi: Floats,
    v: Floats,
    z: Floats,
    bound: float,
    stop: float,
    most: int,
    starts: NDArray[np.int64],
) -> tuple[int, float, float]:
    """Filtered strong branching: (neuron, bound if active, bound if inactive); -1: none left.

    Score: sum over both children of min(bound - stop, 0).
    """
    order = candidates(rows, state, a, v, z, most)
    size = len(a)
    delta = np.zeros(size)
    marked = np.zeros(size, np.uint8)
    touched = np.empty(len(rows.offset), np.int64)
    inputs = np.empty(rows.inputs, np.int64)
    best, best_score = -1, -np.inf
    best_active = best_inactive = bound
    for q in range(len(order)):
        j = order[q]
        active = bound + child_change(
            rows, planes, region, state, theta, mix, a, lam, pi, j, 1,
            delta, marked, touched, inputs, starts,
        )  # fmt: skip
        inactive = bound + child_change(
            rows, planes, region, state, theta, mix, a, lam, pi, j, -1,
            delta, marked, touched, inputs, starts,
        )  # fmt: skip
        score = min(active - stop, 0.0) + min(inactive - stop, 0.0)
        if score > best_score:
            best, best_score = j, score
            best_active, best_inactive = active, inactive
    return best, best_active, best_inactive


@kernel
def expand(
    rows: Rows,
    planes: Planes,
    region: Region,
    goal: Goal,
    gamma: float,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    steps: int,
    rate: float,
    stop: float,
    most: int,
    starts: NDArray[np.int64],
    v: Floats,
) -> tuple[float, float, int, float, bool, float, bool, float]:
    """One node: optimise its bound, and choose a split where it stays at or below `stop`.

    Returns
    -------
    (bound, radius, neuron, active, active_closed, inactive, inactive_closed, value)
        `neuron` -1: nothing to split, or nothing left to do. A closed child's bound is proven by a
        pass of its own. `value`: the goal itself at the minimiser, which is left in `v`.
    """
    m = len(rows.offset)
    a, lam, pi, z = np.empty(len(goal.row)), np.empty(m), np.empty(m), np.empty(m)
    bound, gamma, _, radius = optimise(
        rows, planes, region, goal, gamma, False, state, theta, mix, steps, rate, stop,
        a, v, lam, pi, z,
    )  # fmt: skip
    if bound > stop:
        return bound, radius, -1, bound, True, bound, True, np.inf
    neuron, active, inactive = choose(
        rows, planes, region, state, theta, mix, a, lam, pi, v, z, bound, stop, most, starts
    )
    closed_active = closed_inactive = False
    x = np.empty(len(a))
    if neuron >= 0:
        old = theta[neuron]
        theta[neuron] = 0.0
        if active > stop:
            state[neuron] = 1
            active, _ = bound_once(
                rows, planes, region, goal, gamma, state, theta, mix, a, x, lam, pi
            )
            closed_active = active > stop
        if inactive > stop:
            state[neuron] = -1
            inactive, _ = bound_once(
                rows, planes, region, goal, gamma, state, theta, mix, a, x, lam, pi
            )
            closed_inactive = inactive > stop
        state[neuron] = 0
        theta[neuron] = old
    evaluate(rows, v)
    value = dot(goal.row, v) + goal.offset
    return bound, radius, neuron, active, closed_active, inactive, closed_inactive, value
