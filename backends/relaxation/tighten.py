"""Tighter pre-activation bounds on a ball: what a root does before its tree grows."""

import heapq

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.protocol import Limits
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import neuron_goal
from graphprune.backends.relaxation.specification import CANDIDATES, RATE, Target

Floats = NDArray[np.float64]

# Layers from this one on are tightened by branch and bound: the first two are tight already.
LATE = 2
# Neurons of a late layer at most, and nodes for each of their bounds.
LATE_NEURONS, LATE_NODES = 64, 40
# Optimiser steps of an output-constrained bound.
CONSTRAINED_STEPS = 12
# The margin's multiplier at the start.
MULTIPLIER = 0.5
# Rounds go on while the widths fall by this share.
GAIN = 0.02
BLOCK = 32


def late_layers(target: Target, limits: Limits, nodes: int = LATE_NODES) -> int:
    """Small branch and bounds for the late layers' neurons; the number of nodes used."""
    used = 0
    starts = target.starts
    for layer in range(LATE, len(starts) - 1):
        if starts[layer + 1] - starts[layer] > LATE_NEURONS:
            continue
        for neuron in range(starts[layer], starts[layer + 1]):
            for sign in (1.0, -1.0):
                if limits.over:
                    break
                bound, count = _bound(target, int(neuron), sign, nodes)
                used += count
                if sign > 0:
                    target.rows.lower[neuron] = max(target.rows.lower[neuron], min(bound, -1e-30))
                else:
                    target.rows.upper[neuron] = min(target.rows.upper[neuron], max(-bound, 1e-30))
    target.write_back()
    return used


def _bound(target: Target, neuron: int, sign: float, nodes: int) -> tuple[float, int]:
    """A lower bound of sign z, by branch and bound until it is stable or `nodes` are used."""
    rows = target.rows
    goal = neuron_goal(rows, neuron, sign)
    m = target.neurons
    theta = (rows.upper > -rows.lower).astype(np.float64)
    # Proven bound, tie-break, state, parameters.
    start = (-np.inf, 0, np.zeros(m, np.int8), theta, np.zeros(m))
    heap = [start]
    done, count = np.inf, 0
    v = np.empty(target.basis)
    while heap and heap[0][0] <= 0.0 and count < nodes:
        proven, _, state, theta, mix = heapq.heappop(heap)
        count += 1
        state, theta, mix = state.copy(), theta.copy(), mix.copy()
        bound, _, split, *_ = kernels.expand(
            rows, target.planes, target.region, goal, 0.0, state, theta, mix,
            20 if count == 1 else 6, RATE, 0.0, CANDIDATES, target.starts, v,
        )  # fmt: skip
        # Written so that NaN proves nothing.
        bound = bound if bound > proven else proven
        if bound > 0.0 or split < 0:
            done = min(done, bound)
            continue
        for phase in (kernels.ACTIVE, kernels.INACTIVE):
            own, slopes = state.copy(), theta.copy()
            own[split], slopes[split] = phase, 0.0
            heapq.heappush(heap, (bound, 2 * count + (phase > 0), own, slopes, mix))
    return min([done, *(entry[0] for entry in heap)]), count


def constrained(
    target: Target, state: NDArray[np.int8], theta: Floats, mix: Floats, limits: Limits
) -> bool:
    """One round of output-constrained bounds of all unsplit neurons, layer by layer, in place.

    The box first: the margin's own linear bound cuts it.

    Returns
    -------
    bool
        False where they prove that no point of the case has this margin <= 0.
    """
    target.cut_box(state, theta, mix)
    m = target.neurons
    # In blocks, so that a limit is heard.
    for start in range(0, m, BLOCK):
        if limits.over:
            break
        possible = kernels.tighten(
            target.rows, target.planes, target.region, target.goal, MULTIPLIER,
            start, min(start + BLOCK, m), state, theta, mix, CONSTRAINED_STEPS, RATE,
        )  # fmt: skip
        if not possible:
            return False
    return True


def constrain_root(target: Target, limits: Limits, rounds: int) -> bool:
    """Rounds of output-constrained bounds while they gain.

    Neurons that they fix stay rows, split at the root: that z >= 0 (or <= 0) holds only for points
    with margin <= 0, so leaving the row out would lose the constraint.

    Returns
    -------
    bool
        False where the target is excluded.
    """
    for _ in range(rounds):
        before = target.width
        if not constrained(target, target.state, target.theta, target.mix, limits):
            return False
        target.stabilise(target.state, target.theta)
        if target.optimise() > 0.0:
            return False
        if limits.over or target.width > (1.0 - GAIN) * before:
            break
    return True
