"""Bounds of rows in many cases at once: each has its own ranges, lines and multipliers.

A case is a part of the region on which some pre-activations z_j are known to lie in [l_j, u_j]. Its
rows are bounded by the linear relaxation of :mod:`graphprune.bounds.compact.backward`, where an
activation has a *fan* of several lines on either side and a row takes a mixture of two neighbours
(alpha), and where any multiplier c_j of a pre-activation may be used:

    c_j z_j - max(c_j, 0) u_j - min(c_j, 0) l_j <= 0    on the case,

so that adding it to the row leaves a lower bound (beta of Wang et al. 2021, with a sign; GenBaB's,
Shi et al. 2024). Mixtures and multipliers are found by projected Adam; any of them give a bound.
The cases of a batch stand side by side as rows do in `backward`: the number of case r of n at index
i is at i * n + r, in every array, and FAN numbers of a fan follow each other there.

Rounding is counted as in `backward`: a mixture's error is proportional to both of its lines, a
multiplier's to its size times that of the pre-activation and of the end.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds.compact.backward import clear, constants, enter, even, push
from graphprune.bounds.compact.kernels import (
    Balls,
    Flags,
    Floats,
    Ints,
    LayerState,
    Net,
    RowBatch,
    SparseRows,
    input_minimum,
    reached,
)
from graphprune.bounds.compact.optimise import pre_activations
from graphprune.runtime.jit import fast_kernel, fast_part
from graphprune.runtime.loops import copy, greatest
from graphprune.transforms.optimisation import ADAM

Singles = NDArray[np.float32]

# Lines of a fan at most.
FAN = 5
# Stands for a coefficient 0 where a multiplier may be wanted.
LEAST = 1e-300
# A multiplier's step relative to the coefficient of its neuron, and to the largest one of its case.
REACH, LEAST_REACH = 0.5, 1e-3
# A step gains at most so many times what the bound lacks, to first order.
AIM = 1.5
# Trials for the radius at which a bound reaches 0.
TRIALS = 12


class Cases(NamedTuple):
    """A batch of n cases; see the module for the order of the arrays.

    Attributes
    ----------
    lower_slope, lower_offset, upper_slope, upper_offset
        (total * n * FAN,) lines on the ranges.
    low, high
        (total * n,) ranges of pre-activations.
    free
        (total * n,) 1 where a multiplier may be used.
    alpha, multiplier
        (total * n,) places in the fans, and multipliers: start and result.
    """

    lower_slope: Singles
    lower_offset: Singles
    upper_slope: Singles
    upper_offset: Singles
    low: Singles
    high: Singles
    free: Flags
    alpha: Floats
    multiplier: Floats


class Ascending(NamedTuple):
    """Room for an ascent, and what its last pass saw; (total * n,) arrays.

    Attributes
    ----------
    output
        Rows at the activations' outputs.
    point, before
        Values of activations and of pre-activations at the minimisers, as the lines have them.
    line
        Values of the lines at the nearest pre-activation in its range.
    gradient, move
        Derivatives by the mixtures, then steps; steps of the multipliers.
    best_alpha, best_multiplier
        Those of the best bound.
    """

    output: Floats
    point: Floats
    before: Floats
    line: Floats
    gradient: Floats
    move: Floats
    mean: Floats
    square: Floats
    mean_multiplier: Floats
    square_multiplier: Floats
    best_alpha: Floats
    best_multiplier: Floats


class CaseTask(NamedTuple):
    """The ascent of a batch.

    Attributes
    ----------
    target
        The value that the rows are on.
    gamma, tiny
        Rounding errors relative to the absolute terms, and the absolute rest.
    steps
        Passes.
    rate
        Size of the first step.
    last
        Per value the last line of its fan.
    limit
        (n,) what a row is to exceed: bounds are those of the difference.
    """

    target: int
    gamma: float
    tiny: float
    steps: int
    rate: float
    last: Ints
    limit: Floats


class Inputs(NamedTuple):
    """The region's inputs; box 0 of its arrays.

    Attributes
    ----------
    state
        The inputs' `low` and `high`, and magnitudes that hold in all cases.
    balls
        The ball that the box surrounds; None where the box is all there is.
    center
        (inputs,) in layout order.
    known
        1: there is a ball, in which a radius is looked for.
    trial, within
        Room for smaller ones, of the same kinds.
    """

    state: LayerState
    balls: Balls | None
    center: Floats
    known: int
    trial: LayerState
    within: Balls | None


class CaseResults(NamedTuple):
    """The results of a batch.

    Attributes
    ----------
    bound
        (n,) the best bounds.
    radius
        (n,) on entry that of the ball, then one on which the row is proven positive.
    points
        (inputs * n,) minimisers.
    """

    bound: Floats
    radius: Floats
    points: Floats


@fast_part
def _two_lines(cases: Cases, at: int, side: float) -> tuple[float, float, float, float]:
    """Slope and offset of two neighbours in the fan below, or above where `side` is negative."""
    if side >= 0.0:
        slope, offset = cases.lower_slope, cases.lower_offset
    else:
        slope, offset = cases.upper_slope, cases.upper_offset
    return float(slope[at]), float(offset[at]), float(slope[at + 1]), float(offset[at + 1])


@fast_part
def _relax(
    net: Net, state: LayerState, batch: RowBatch, cases: Cases, output: Floats, value: int,
    top: int,
) -> None:  # fmt: skip
    """Rows at an activation become rows at its pre-activation, multipliers added."""
    n, x, total, size = batch.width, batch.x, batch.total, batch.terms
    even(net, value, n, batch.flags, x)
    first, block = net.start[value], net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, batch.flags)
        if i == end:
            return
        for j in range(i, end):
            offset, magnitude = net.offset[j], state.magnitude[0, j]
            # Both of a pair have one mixture: that of the first one.
            own = j - (j - first) % 2 if net.paired[value] else j
            for r in range(n):
                p = j * n + r
                a, m = x[p], cases.alpha[own * n + r]
                k = min(int(m), top - 1)
                m, at = m - k, p * FAN + k
                s, o, d, e = _two_lines(cases, at, a)
                rest = 1.0 - m
                below = a * (rest * s + m * d)
                lines = abs(o) + abs(e) + (abs(s) + abs(d)) * magnitude
                size[r] += abs(a) * lines
                total[r] += a * (rest * o + m * e)
                output[p] = a
                if cases.free[p]:
                    c = cases.multiplier[p]
                    side = cases.high[p] if c > 0.0 else cases.low[p]
                    below += c
                    total[r] -= c * side
                    size[r] += abs(c) * (magnitude + abs(side))
                    if a == 0.0:
                        output[p] = LEAST
                total[r] += below * offset
                x[p] = below


@fast_part
def _through(
    cases: Cases, room: Ascending, n: int, base: int, live: Ints, z: Floats, first: int, top: int
) -> None:
    """Values of the relaxations at pre-activations z (live, n); derivatives by alpha.

    `first` is where pairs begin; -1: there are none.
    """
    for k in range(len(live)):
        j = base + live[k]
        own = j - (j - first) % 2 if first >= 0 else j
        for r in range(n):
            p, here = j * n + r, z[k, r]
            used, m = room.output[p], cases.alpha[own * n + r]
            line = min(int(m), top - 1)
            m, at = m - line, p * FAN + line
            s, o, d, e = _two_lines(cases, at, used)
            one, other = s * here + o, d * here + e
            room.before[p] = here
            inside = min(max(here, float(cases.low[p])), float(cases.high[p]))
            room.line[p] = (1.0 - m) * (s * inside + o) + m * (d * inside + e)
            room.point[p] = (1.0 - m) * one + m * other
            room.gradient[p] = used * (other - one)


@fast_part
def _carry(
    net: Net, n: int, cases: Cases, room: Ascending, value: int, top: int, scratch: Floats
) -> None:
    """Carry the minimisers from the values below to `value`."""
    live, paired = np.empty(net.block[value], dtype=np.int64), net.paired[value] != 0
    for b in range(net.first_block[value], net.first_block[value + 1]):
        base, count = pre_activations(net, n, value, b, room.output, room.point, live, scratch)
        if count:
            z = scratch[: count * n].reshape(count, n)
            _through(cases, room, n, base, live[:count], z, net.start[value] if paired else -1, top)
    if paired:
        for j in range(net.start[value], net.start[value] + net.width[value], 2):
            for r in range(n):
                p, q = j * n + r, (j + 1) * n + r
                room.gradient[p] = 0.5 * (room.gradient[p] + room.gradient[q])


@fast_part
def _adam(mean: Floats, square: Floats, p: int, g: float, step: int) -> float:
    """The direction of a step of Adam, about 1 in size."""
    mean[p] = ADAM.first * mean[p] + (1.0 - ADAM.first) * g
    square[p] = ADAM.second * square[p] + (1.0 - ADAM.second) * g * g
    root = np.sqrt(square[p] / (1.0 - ADAM.second ** (step + 1)))
    return float(mean[p] / (1.0 - ADAM.first ** (step + 1)) / (root + 1e-100))


@fast_part
def _ascend(
    net: Net, cases: Cases, room: Ascending, task: CaseTask, step: int, out: Floats, scale: Floats
) -> None:
    """One projected step on mixtures and multipliers; `scale` (2, n) is room.

    It is shorter where a case would gain more than `AIM` times what it lacks, to first order:
    near the optimum of a case that hardly lacks anything long steps lead away.
    """
    n, rate = len(out), task.rate * ADAM.decay**step
    largest, gain = scale[0], scale[1]
    largest[:] = gain[:] = 0.0
    for j in range(net.start[1], net.start[task.target]):
        for r in range(n):
            largest[r] = max(largest[r], abs(room.output[j * n + r]))
    for value in range(1, task.target):
        top = float(task.last[value])
        for j in range(net.start[value], net.start[value] + net.width[value]):
            for r in range(n):
                p = j * n + r
                g, room.gradient[p], room.move[p] = room.gradient[p], 0.0, 0.0
                if g != 0.0:
                    old = cases.alpha[p]
                    move = rate * top * _adam(room.mean, room.square, p, g, step)
                    room.gradient[p] = min(max(old + move, 0.0), top) - old
                    gain[r] += g * room.gradient[p]
                if not cases.free[p]:
                    continue
                z, c = room.before[p], cases.multiplier[p]
                g = max(z - cases.high[p], 0.0) + min(z - cases.low[p], 0.0)
                if c > 0.0:
                    g = z - cases.high[p]
                elif c < 0.0:
                    g = z - cases.low[p]
                if g == 0.0:
                    continue
                move = _adam(room.mean_multiplier, room.square_multiplier, p, g, step)
                move *= rate * REACH * (abs(room.output[p]) + LEAST_REACH * largest[r])
                # A multiplier stops at 0 on its way to the other sign.
                room.move[p] = -c if (c + move) * c < 0.0 else move
                gain[r] += g * room.move[p]
    for r in range(n):
        aim = AIM * max(-out[r], 0.0)
        gain[r] = min(1.0, aim / gain[r]) if gain[r] > 0.0 else 1.0
    for p in range(net.start[1] * n, net.start[task.target] * n):
        share = gain[p % n]
        cases.alpha[p] += share * room.gradient[p]
        cases.multiplier[p] += share * room.move[p]


@fast_part
def _set_radius(balls: Balls | None, radius: float) -> None:
    """Give a ball another radius, where there is one."""
    if balls is not None:
        balls.radius[0] = radius


@fast_part
def _least_within(inputs: Inputs, row: Floats, radius: float, point: Floats) -> tuple[float, float]:
    """The least value of a row in the part of the region within a radius of the centre; terms."""
    state, trial, center = inputs.state, inputs.trial, inputs.center
    for j in range(len(row)):
        side = radius + 4e-16 * (abs(center[j]) + radius) + LEAST
        trial.low[0, j] = max(state.low[0, j], center[j] - side)
        trial.high[0, j] = min(state.high[0, j], center[j] + side)
    _set_radius(inputs.within, radius)
    return input_minimum(trial, inputs.within, 0, row, point)


@fast_part
def _root(
    inputs: Inputs, row: Floats, total: float, size: float, task: CaseTask, radius: float,
    point: Floats,
) -> float:  # fmt: skip
    """A radius up to `radius` on which a row's bound is proven positive, nearly the largest one."""
    low, high, at_low, at_high = 0.0, radius, 0.0, 0.0
    for trial in range(-2, TRIALS):
        if trial < 0:
            t = radius if trial == -2 else 0.0
        else:
            # The bound falls and is convex: the chord's root is beyond its own.
            share = 0.5 if trial % 3 == 2 else min(max(at_low / (at_low - at_high), 0.02), 0.98)
            t = low + share * (high - low)
        least, terms = _least_within(inputs, row, t, point)
        bound = total + least - task.gamma * (size + terms) - task.tiny
        if bound > 0.0:
            low, at_low = t, bound
            if trial == -2:
                break
        elif trial == -1:
            break
        else:
            high, at_high = t, min(bound, -LEAST)
        if trial >= 0 and high - low <= 1e-7 * high:
            break
    return low


@fast_part
def _keep(target: Floats, source: Floats, n: int, r: int) -> None:
    """Copy the numbers of one case."""
    for p in range(r, len(target), n):
        target[p] = source[p]


@fast_part
def _put(target: Floats, source: Floats, n: int, r: int) -> None:
    """Copy numbers to those of one case."""
    for j in range(len(source)):
        target[j * n + r] = source[j]


@fast_kernel
def bound_cases(
    net: Net, inputs: Inputs, given: SparseRows, cases: Cases, room: Ascending, task: CaseTask,
    outcome: CaseResults,
) -> None:  # fmt: skip
    """Optimise the bounds of a batch of cases, a row each.

    The last pass is one with the best parameters, and `room` has its coefficients and points;
    where all bounds are positive before that, there is none, and both are of no interest.
    """
    out, points, state = outcome.bound, outcome.points, inputs.state
    n, target, width = len(out), task.target, net.width[0]
    first = width * n
    x = np.zeros(len(net.offset) * n)
    flags = np.zeros(net.first_block[-1], dtype=np.uint8)
    widest, tallest = greatest(net.group_width), greatest(net.block)
    scratch = np.empty(2 * tallest * n + widest * (tallest + n))
    total, size, rows = np.empty(n), np.empty(n), np.arange(n)
    batch = RowBatch(0, n, x, flags, total, size)
    least, current, scale = np.empty(width), np.empty(n), np.empty((2, n))
    out[:] = -np.inf
    copy(cases.alpha, room.best_alpha)
    copy(cases.multiplier, room.best_multiplier)
    for step in range(task.steps + 1):
        last = step == task.steps
        if last:
            copy(room.best_alpha, cases.alpha)
            copy(room.best_multiplier, cases.multiplier)
        enter(net, target, given, rows, batch)
        for r in range(n):
            total[r], size[r] = -task.limit[r], abs(task.limit[r])
        constants(net, state, batch, target)
        push(net, batch, target, scratch)
        room.output[:] = 0.0
        for v in range(target - 1, 0, -1):
            _relax(net, state, batch, cases, room.output, v, task.last[v])
            push(net, batch, v, scratch)
        every = True
        for r in range(n):
            row = x[:first].reshape(width, n)[:, r].copy()
            value, terms = input_minimum(state, inputs.balls, 0, row, least)
            bound = total[r] + value - task.gamma * (size[r] + terms) - task.tiny
            current[r] = bound
            if bound > out[r] or step == 0:
                out[r] = bound
                _keep(room.best_alpha, cases.alpha, n, r)
                _keep(room.best_multiplier, cases.multiplier, n, r)
            every &= out[r] > 0.0
            _put(points, least, n, r)
            if last and inputs.known:
                outcome.radius[r] = _root(
                    inputs, row, total[r], size[r], task, outcome.radius[r], least
                )
        clear(net, batch, 0)
        if every:
            break
        copy(points, room.point[:first])
        room.point[first:] = 0.0
        room.gradient[:] = 0.0
        for v in range(1, target):
            _carry(net, n, cases, room, v, task.last[v], scratch)
        if not last:
            _ascend(net, cases, room, task, step, current, scale)
