"""Compiled passes over the condensed network: the inner loop of the search.

Everything here is one idea, the linear relaxation of Zhang et al. 2018 (CROWN) with the free
slopes of Xu et al. 2021 (alpha) and the split multipliers of Wang et al. 2021 (beta), on sparse
rows. With coefficient a on h_j = relu(z_j), z_j = row_j . v + offset_j,

    unsplit, a > 0    a h >= a theta z                            0 <= theta <= 1
    unsplit, a < 0    a h >= a (1 - mix) s (z - l) + a mix (plane . v + q)
    active            h = z,  0 >= -theta z                       theta >= 0
    inactive          h = 0,  0 >= +theta z                       theta >= 0

with s = u / (u - l) and `plane` any proven upper plane of the neuron. Going down the basis, every
neuron's coefficient is thus replaced by multiples `lam` of its row and `pi` of its plane, until
only inputs are left.

Rounding. With u = 2^-53, a sum of k products is wrong by at most k u (1 + o(1)) times the sum of
their absolute values; nothing here is reordered or fused by the compiler (no fastmath). Multipliers
may be any floats: every `theta` and `mix` in range gives a valid bound in exact arithmetic, so that
only what is computed *from* them counts.

1.  Rows. ``rows.error`` is 4 R u M_j: M_j bounds |row_j| . |v| + |offset_j| over the ball (products
    along stable neurons included), R is 64 plus all roundings of the condensation, the number of
    inputs and the size of the basis. A quarter pays for the row as it was condensed, a quarter for
    the sums a_i += lam_j row_ji of `backward` (at most one per neuron above: what a_i, input or
    neuron, is wrong by, times |v_i|, sums up to at most R u sum_j |lam_j| M_j), a quarter for the
    constant (|offset_j| and |l_j| are at most M_j).
2.  Lines. lam = c (1 - w) s is some units u off the exact slope; times (z - l) that is a few
    u |c| upper_j <= a few u |lam_j| (upper_j - lower_j) <= 2 of them u |lam_j| M_j: within the last
    quarter, R being at least 64. The same holds for w + (1 - w) = 1 and for c - theta.
3.  Planes. ``planes.error`` is 16 rows.error and 1e-13 of the plane's own offset: the terms of a
    plane are at most those of its row times shares in [0, 1], summed once more.
4.  Inputs. ``region.error`` is 4 (n + 64) u max|x_i|; the box itself is rounded outward by one ulp,
    or at 0 by 1e-200.
    `concretise` needs (n + 1) u max|x_i| of it; `root`, whose terms are c x0 and c r with
    |x0| <= max|x| and r <= 2 max|x|, needs 3 (n + 4) u max|x_i|; `cut_box` (n + 1) u max|x_i|.
5.  The few additions of totals: 1e-13 (|constant| + |value|), over 400 u.
6.  `root` returns a radius: each Newton step from below is made shorter by 1e-12 and 4 n u, more
    than what the quotient of value and slope (a sum of n terms of one sign) is wrong by.

What only guides (candidates, the children's estimates, gradients, `evaluate`) carries no error
terms: a child closed by an estimate is bounded by a pass of its own, and points are confirmed by
the network itself. A NaN closes nothing, as no comparison with it is true.

The functions are compiled by Numba at their first call and kept on disk; keep them in this one
file, whose date decides whether the kept code is still good.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.runtime.jit import kernel

Floats = NDArray[np.float64]

UNSPLIT, ACTIVE, INACTIVE = 0, 1, -1
# Half the distance from 1 to the next number.
UNIT = 2.0**-53
# Where tightened bounds stop before 0: the lines of such a neuron are exact.
TINY = 1e-30
# An optimiser's step goes at most this many times as far as `stop` is to first order (Polyak's
# rule): deep in a tree bounds are close to it, and steps of the usual size only leap about.
AIM = 1.5


class Rows(NamedTuple):
    """The condensed network: neuron j's row is ``values[indptr[j]:indptr[j + 1]]``."""

    inputs: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Floats
    offset: Floats
    error: Floats
    lower: Floats
    upper: Floats
    layer: NDArray[np.int32]


class Planes(NamedTuple):
    """One more upper plane per neuron, on the support of its row; `has` 0: none."""

    has: NDArray[np.uint8]
    values: Floats
    offset: Floats
    error: Floats


class Region(NamedTuple):
    """The box of inputs, and the centre its radius is measured from."""

    lower: Floats
    upper: Floats
    center: Floats
    error: Floats


class Goal(NamedTuple):
    """What is bounded from below: row . v + offset, plus gamma (cut . v + cut_offset).

    Where cut . v + cut_offset <= 0 is known to hold (the margin, at an adversarial point), any
    gamma >= 0 gives a valid bound.
    """

    row: Floats
    offset: float
    error: float
    cut: Floats
    cut_offset: float
    cut_error: float


@kernel
def backward(
    rows: Rows,
    planes: Planes,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    a: Floats,
    lam: Floats,
    pi: Floats,
) -> tuple[float, float]:
    """Push coefficients `a` over the basis down to the inputs, in place; (constant, error)."""
    n = rows.inputs
    constant = 0.0
    error = 0.0
    for j in range(len(rows.offset) - 1, -1, -1):
        c = a[n + j]
        s = state[j]
        p = 0.0
        if s == 0:
            if c > 0.0:
                m = c * theta[j]
            elif c < 0.0:
                w = mix[j] if planes.has[j] else 0.0
                low = rows.lower[j]
                m = c * (1.0 - w) * (rows.upper[j] / (rows.upper[j] - low))
                constant -= m * low
                p = c * w
            else:
                m = 0.0
        elif s == 1:
            m = c - theta[j]
        else:
            m = theta[j]
        lam[j] = m
        pi[j] = p
        first, last = rows.indptr[j], rows.indptr[j + 1]
        if p != 0.0:
            constant += p * planes.offset[j] + m * rows.offset[j]
            error += abs(p) * planes.error[j] + abs(m) * rows.error[j]
            for k in range(first, last):
                a[rows.indices[k]] += m * rows.values[k] + p * planes.values[k]
        elif m != 0.0:
            constant += m * rows.offset[j]
            error += abs(m) * rows.error[j]
            for k in range(first, last):
                a[rows.indices[k]] += m * rows.values[k]
    return constant, error


@kernel
def concretise(a: Floats, region: Region, v: Floats) -> tuple[float, float]:
    """The minimum over the box of the inputs' part, its minimiser into `v`; (value, error)."""
    value = 0.0
    error = 0.0
    for i in range(len(region.lower)):
        c = a[i]
        x = region.lower[i] if c > 0.0 else region.upper[i]
        v[i] = x
        value += c * x
        error += abs(c) * region.error[i]
    return value, error


@kernel
def root(a: Floats, region: Region, constant: float, start: float) -> float:
    """The radius at which the linear bound a . x + constant reaches 0, from below.

    As a function of the radius the minimum over the box is convex, piecewise linear and falls, so
    Newton's steps from a radius where it is positive never pass the root.
    """
    radius = start
    shorter = 1.0 - 1e-12 - 4.0 * UNIT * len(region.lower)
    for _ in range(50):
        value = constant
        slope = 0.0
        for i in range(len(region.lower)):
            c = a[i]
            if c > 0.0:
                room = region.center[i] - region.lower[i]
            else:
                room = region.upper[i] - region.center[i]
            value += c * region.center[i] - abs(c) * min(room, radius)
            if room > radius:
                slope += abs(c)
        if value <= 0.0 or slope == 0.0:
            break
        step = value / slope
        radius += step * shorter
        if step <= 1e-9 * radius:
            break
    return radius


@kernel
def forward(
    rows: Rows,
    planes: Planes,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    a: Floats,
    v: Floats,
    z: Floats,
    up: Floats,
) -> None:
    """Values of pre-activations `z`, planes `up` and chosen lines `v` at the minimiser in `v`."""
    n = rows.inputs
    for j in range(len(rows.offset)):
        c = a[n + j]
        s = state[j]
        value = rows.offset[j]
        first, last = rows.indptr[j], rows.indptr[j + 1]
        plane = 0.0
        if s == 0 and planes.has[j] and c < 0.0:
            plane = planes.offset[j]
            for k in range(first, last):
                x = v[rows.indices[k]]
                value += rows.values[k] * x
                plane += planes.values[k] * x
        else:
            for k in range(first, last):
                value += rows.values[k] * v[rows.indices[k]]
        z[j] = value
        up[j] = plane
        if s == 1:
            h = value
        elif s == -1:
            h = 0.0
        elif c >= 0.0:
            h = theta[j] * value
        else:
            low = rows.lower[j]
            h = rows.upper[j] / (rows.upper[j] - low) * (value - low)
            if planes.has[j]:
                h += mix[j] * (plane - h)
        v[n + j] = h


@kernel
def evaluate(rows: Rows, v: Floats) -> None:
    """The network itself at the inputs in `v` (valid on its ball): hidden values into `v`."""
    n = rows.inputs
    for j in range(len(rows.offset)):
        value = rows.offset[j]
        for k in range(rows.indptr[j], rows.indptr[j + 1]):
            value += rows.values[k] * v[rows.indices[k]]
        v[n + j] = max(value, 0.0)


@kernel
def dot(row: Floats, v: Floats) -> float:
    total = 0.0
    for i in range(len(v)):
        total += row[i] * v[i]
    return total


@kernel
def bound_once(
    rows: Rows,
    planes: Planes,
    region: Region,
    goal: Goal,
    gamma: float,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    a: Floats,
    v: Floats,
    lam: Floats,
    pi: Floats,
) -> tuple[float, float]:
    """(lower bound, constant of the linear bound), both with the rounding margin taken off."""
    if gamma != 0.0:
        for i in range(len(a)):
            a[i] = goal.row[i] + gamma * goal.cut[i]
    else:
        a[:] = goal.row
    constant, error = backward(rows, planes, state, theta, mix, a, lam, pi)
    value, more = concretise(a, region, v)
    constant += goal.offset + gamma * goal.cut_offset
    error += goal.error + gamma * goal.cut_error + more
    error += 1e-13 * (abs(constant) + abs(value))
    return constant + value - error, constant - error


@kernel
def optimise(
    rows: Rows,
    planes: Planes,
    region: Region,
    goal: Goal,
    gamma: float,
    move_gamma: bool,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    steps: int,
    rate: float,
    stop: float,
    a: Floats,
    v: Floats,
    lam: Floats,
    pi: Floats,
    z: Floats,
) -> tuple[float, float, float, float]:
    """Maximise the bound over slopes, mixing weights and multipliers (Adam, projected).

    `theta` and `mix` hold the best ones afterwards, `a`, `lam`, `pi`, `v`, `z` what belongs to
    them.

    Returns
    -------
    (bound, gamma, constant, radius)
        `radius`: nothing of the region with goal <= 0 is closer to the centre.
    """
    m = len(rows.offset)
    n = rows.inputs
    up = np.empty(m)
    best_theta = theta.copy()
    best_mix = mix.copy()
    best_gamma = gamma
    best = -np.inf
    d_theta, d_mix = np.zeros(m), np.zeros(m)
    g1, g2 = np.zeros(m), np.zeros(m)
    w1, w2 = np.zeros(m), np.zeros(m)
    c1 = c2 = 0.0
    b1, b2 = 0.85, 0.98
    p1 = p2 = 1.0
    at_best = False
    for step in range(steps + 1):
        value, _ = bound_once(rows, planes, region, goal, gamma, state, theta, mix, a, v, lam, pi)
        at_best = value > best
        if at_best:
            best = value
            best_theta[:] = theta
            best_mix[:] = mix
            best_gamma = gamma
        if step == steps or best > stop:
            break
        forward(rows, planes, state, theta, mix, a, v, z, up)
        p1 *= b1
        p2 *= b2
        size = rate * (0.97**step)
        scale = 0.0
        count = 0
        for j in range(m):
            if a[n + j] != 0.0:
                scale += abs(a[n + j])
                count += 1
        scale = scale / max(count, 1)
        # Directions, and what the bound gains along them to first order.
        gain = 0.0
        for j in range(m):
            c = a[n + j]
            s = state[j]
            d_theta[j] = d_mix[j] = 0.0
            if s == 0:
                if c > 0.0:
                    g = c * z[j]
                    if (theta[j] >= 1.0 and g > 0.0) or (theta[j] <= 0.0 and g < 0.0):
                        g = 0.0
                    g1[j] = b1 * g1[j] + (1.0 - b1) * g
                    g2[j] = b2 * g2[j] + (1.0 - b2) * g * g
                    d_theta[j] = (g1[j] / (1.0 - p1)) / (np.sqrt(g2[j] / (1.0 - p2)) + 1e-12)
                    gain += g * d_theta[j]
                elif c < 0.0 and planes.has[j]:
                    low = rows.lower[j]
                    line = rows.upper[j] / (rows.upper[j] - low) * (z[j] - low)
                    g = c * (up[j] - line)
                    if (mix[j] >= 1.0 and g > 0.0) or (mix[j] <= 0.0 and g < 0.0):
                        g = 0.0
                    w1[j] = b1 * w1[j] + (1.0 - b1) * g
                    w2[j] = b2 * w2[j] + (1.0 - b2) * g * g
                    d_mix[j] = (w1[j] / (1.0 - p1)) / (np.sqrt(w2[j] / (1.0 - p2)) + 1e-12)
                    gain += g * d_mix[j]
            else:
                g = -z[j] if s == 1 else z[j]
                if theta[j] <= 0.0 and g < 0.0:
                    g = 0.0
                g1[j] = b1 * g1[j] + (1.0 - b1) * g
                g2[j] = b2 * g2[j] + (1.0 - b2) * g * g
                d_theta[j] = max(scale, abs(c)) * (
                    (g1[j] / (1.0 - p1)) / (np.sqrt(g2[j] / (1.0 - p2)) + 1e-12)
                )
                gain += g * d_theta[j]
        if gain > 0.0:
            size = min(size, AIM * (stop - value) / gain)
        for j in range(m):
            if state[j] == 0:
                theta[j] = min(max(theta[j] + size * d_theta[j], 0.0), 1.0)
                mix[j] = min(max(mix[j] + size * d_mix[j], 0.0), 1.0)
            else:
                theta[j] = max(theta[j] + size * d_theta[j], 0.0)
        if move_gamma:
            g = dot(goal.cut, v) + goal.cut_offset
            c1 = b1 * c1 + (1.0 - b1) * g
            c2 = b2 * c2 + (1.0 - b2) * g * g
            gamma += (
                size * max(gamma, 0.03) * (c1 / (1.0 - p1)) / (np.sqrt(c2 / (1.0 - p2)) + 1e-12)
            )
            gamma = max(gamma, 0.0)
    theta[:] = best_theta
    mix[:] = best_mix
    # Everything that is handed back belongs to the best parameters.
    best, constant = bound_once(
        rows, planes, region, goal, best_gamma, state, theta, mix, a, v, lam, pi
    )
    radius = root(a, region, constant, 0.0)
    forward(rows, planes, state, theta, mix, a, v, z, up)
    return best, best_gamma, constant, radius


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
