"""The best multipliers of one relaxation: projected ascent."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels.backward import bound_once, dot, forward, root
from graphprune.backends.relaxation.kernels.types import Floats, Goal, Planes, Region, Rows
from graphprune.runtime.jit import kernel

# An optimiser's step goes at most this many times as far as `stop` is to first order (Polyak's
# rule): deep in a tree bounds are close to it, and steps of the usual size only leap about.
AIM = 1.5


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
