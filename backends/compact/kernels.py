"""The compiled loops. Importing this module imports Numba: do it where bounds are computed.

Where lines are optimised row by row, two rows go down together: they share every weight that is
read (many rows on common lines: `lanes`). A block of a value is visited only when a row has
reached it, and neurons whose coefficient is zero in both rows (all inactive ones) are skipped.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.compact.layout import Compact
from graphprune.backends.jit import fast_kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Net(NamedTuple):
    """The arrays of a `Compact`."""

    start: Ints
    width: Ints
    block: Ints
    first_block: Ints
    edge_start: Ints
    edge_source: Ints
    edge_block: Ints
    edge_group: Ints
    group_run: Ints
    group_width: Ints
    group_weight: Ints
    run_column: Ints
    run_length: Ints
    run_first: Ints
    run_last: Ints
    weights: Floats
    sizes: Floats
    offset: Floats
    offset_size: Floats

    @classmethod
    def of(cls, compact: Compact) -> "Net":
        return cls(*(getattr(compact, name) for name in cls._fields))


class State(NamedTuple):
    """What is known on a batch of boxes; float64 arrays (B, total), see `Compact`.

    `low` and `high` bound a value, `magnitude` a segment's absolute terms; the lines of an
    activation bound its value by its pre-activation.
    """

    lower_slope: Floats
    lower_offset: Floats
    upper_slope: Floats
    upper_offset: Floats
    low: Floats
    high: Floats
    magnitude: Floats

    @classmethod
    def empty(cls, batch: int, total: int) -> "State":
        return cls(*(np.zeros((batch, total)) for _ in cls._fields))


class Balls(NamedTuple):
    """The balls that the inputs' boxes surround: center (B, inputs) in layout order, radius (B,).

    `order` is 0 (the box is all there is), 1 or 2, the norm's.
    """

    center: Floats
    radius: Floats
    order: int


@fast_kernel
def interval(
    net: Net, state: State, target: int, gamma: float, lower: Floats, upper: Floats
) -> None:
    """Interval image of the segment of value `target`, into places of (B, total) arrays.

    Writes ``state.magnitude`` as well.
    """
    total = state.low.shape[1]
    centre, radius, largest = np.empty(total), np.empty(total), np.empty(total)
    first = net.start[target]
    for b in range(len(lower)):
        for e in range(net.edge_start[target - 1], net.edge_start[target]):
            s = net.start[net.edge_source[e]]
            for i in range(s, s + net.width[net.edge_source[e]]):
                low, high = state.low[b, i], state.high[b, i]
                centre[i] = 0.5 * low + 0.5 * high
                radius[i] = 0.5 * high - 0.5 * low
                largest[i] = max(abs(low), abs(high))
        for k in range(net.width[target]):
            middle, spread, size = net.offset[first + k], 0.0, net.offset_size[first + k]
            for e in range(net.edge_start[target - 1], net.edge_start[target]):
                block = net.edge_block[e]
                group = net.edge_group[e] + k // block
                w = net.group_weight[group] + (k % block) * net.group_width[group]
                for run in range(net.group_run[group], net.group_run[group + 1]):
                    o, n = net.run_column[run], net.run_length[run]
                    weight, absolute = net.weights[w : w + n], net.sizes[w : w + n]
                    c, d, m = centre[o : o + n], radius[o : o + n], largest[o : o + n]
                    for j in range(n):
                        middle += weight[j] * c[j]
                        spread += abs(weight[j]) * d[j]
                        size += absolute[j] * m[j]
                    w += n
            error = gamma * size
            lower[b, first + k] = middle - spread - error
            upper[b, first + k] = middle + spread + error
            state.magnitude[b, first + k] = size


@fast_kernel
def forward(net: Net, target: int, points: Floats) -> None:
    """Pre-activations of value `target` at points (B, total), into its place."""
    first = net.start[target]
    for b in range(len(points)):
        x = points[b]
        for k in range(net.width[target]):
            total = net.offset[first + k]
            for e in range(net.edge_start[target - 1], net.edge_start[target]):
                block = net.edge_block[e]
                group = net.edge_group[e] + k // block
                w = net.group_weight[group] + (k % block) * net.group_width[group]
                for run in range(net.group_run[group], net.group_run[group + 1]):
                    o, n = net.run_column[run], net.run_length[run]
                    weight, value = net.weights[w : w + n], x[o : o + n]
                    for j in range(n):
                        total += weight[j] * value[j]
                    w += n
            x[first + k] = total


class Work(NamedTuple):
    """Scratch of one thread: two rows over the index space, and what one group needs."""

    p: Floats
    q: Floats
    flags: NDArray[np.uint8]
    live: Ints
    coefficients: Floats
    places: Ints
    y: Floats
    z: Floats


@fast_kernel
def _work(net: Net) -> Work:
    total, widest = len(net.offset), 1
    for width in net.group_width:
        widest = max(widest, width)
    return Work(
        np.zeros(total), np.zeros(total), np.zeros(net.first_block[-1], dtype=np.uint8),
        np.zeros(np.max(net.block) + 8, dtype=np.int64), np.zeros(16),
        np.zeros(8, dtype=np.int64), np.empty(widest), np.empty(widest),
    )  # fmt: skip


@fast_kernel
def _push(net: Net, target: int, work: Work) -> None:
    """Rows at a pre-activation become rows at the sources of its segment; leaves zeros behind."""
    p, q, flags, live = work.p, work.q, work.flags, work.live
    y, z, a, at = work.y, work.z, work.coefficients, work.places
    block = net.block[target]
    for b in range(net.first_block[target], net.first_block[target + 1]):
        if not flags[b]:
            continue
        flags[b] = 0
        number = b - net.first_block[target]
        base = net.start[target] + number * block
        count = 0
        for k in range(min(block, net.width[target] - number * block)):
            live[count] = k
            count += (p[base + k] != 0.0) | (q[base + k] != 0.0)
        if count == 0:
            continue
        for e in range(net.edge_start[target - 1], net.edge_start[target]):
            # The neurons of a block form one group, or each of them its own.
            whole = net.edge_block[e] == block
            first = net.edge_group[e] + number * (1 if whole else block)
            for piece in range(1 if whole else count):
                begin, end = (0, count) if whole else (piece, piece + 1)
                group = first + (0 if whole else live[piece])
                width = net.group_width[group]
                y[:width] = 0.0
                z[:width] = 0.0
                for i in range(begin, end, 8):
                    # Eight neurons at a time; a missing one is a weight with coefficient 0.
                    for k in range(8):
                        neuron = live[min(i + k, end - 1)]
                        some = 1.0 if i + k < end else 0.0
                        a[k] = some * p[base + neuron]
                        a[8 + k] = some * q[base + neuron]
                        at[k] = net.group_weight[group] + (neuron if whole else 0) * width
                    if i + 4 < end:
                        _add_eight(y, z, net.weights, at, a, width)
                    else:
                        _add_four(y, z, net.weights, at, a, width)
                o = 0
                for run in range(net.group_run[group], net.group_run[group + 1]):
                    for touched in range(net.run_first[run], net.run_last[run] + 1):
                        flags[touched] = 1
                    n = net.run_length[run]
                    into_p = p[net.run_column[run] : net.run_column[run] + n]
                    into_q = q[net.run_column[run] : net.run_column[run] + n]
                    from_y, from_z = y[o : o + n], z[o : o + n]
                    for j in range(n):
                        into_p[j] += from_y[j]
                        into_q[j] += from_z[j]
                    o += n
        for i in range(count):
            p[base + live[i]] = 0.0
            q[base + live[i]] = 0.0


@fast_kernel
def _add_four(y: Floats, z: Floats, w: Floats, at: Ints, a: Floats, width: int) -> None:
    """Add four rows of weights times two coefficients each."""
    a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
    b0, b1, b2, b3 = a[8], a[9], a[10], a[11]
    # Slices, as indices like w[at[0] + j] keep the loop from being vectorised.
    w0, w1 = w[at[0] : at[0] + width], w[at[1] : at[1] + width]
    w2, w3 = w[at[2] : at[2] + width], w[at[3] : at[3] + width]
    for j in range(width):
        s0, s1, s2, s3 = w0[j], w1[j], w2[j], w3[j]
        y[j] += a0 * s0 + a1 * s1 + a2 * s2 + a3 * s3
        z[j] += b0 * s0 + b1 * s1 + b2 * s2 + b3 * s3


@fast_kernel
def _add_eight(y: Floats, z: Floats, w: Floats, at: Ints, a: Floats, width: int) -> None:
    """Add eight rows of weights times two coefficients each."""
    a0, a1, a2, a3, a4, a5, a6, a7 = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    b0, b1, b2, b3, b4, b5, b6, b7 = a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]
    w0, w1 = w[at[0] : at[0] + width], w[at[1] : at[1] + width]
    w2, w3 = w[at[2] : at[2] + width], w[at[3] : at[3] + width]
    w4, w5 = w[at[4] : at[4] + width], w[at[5] : at[5] + width]
    w6, w7 = w[at[6] : at[6] + width], w[at[7] : at[7] + width]
    for j in range(width):
        s0, s1, s2, s3, s4, s5, s6, s7 = w0[j], w1[j], w2[j], w3[j], w4[j], w5[j], w6[j], w7[j]
        y[j] += (a0 * s0 + a1 * s1 + a2 * s2 + a3 * s3) + (a4 * s4 + a5 * s5 + a6 * s6 + a7 * s7)
        z[j] += (b0 * s0 + b1 * s1 + b2 * s2 + b3 * s3) + (b4 * s4 + b5 * s5 + b6 * s6 + b7 * s7)


@fast_kernel
def reached(net: Net, value: int, begin: int, flags: NDArray[np.uint8]) -> tuple[int, int, int]:
    """The next stretch of touched blocks of a value from block `begin` on.

    Returns its first index and the index after it, and the block to go on from (equal indices:
    there is none).
    """
    first, last = net.first_block[value], net.first_block[value + 1]
    a = begin
    while a < last and not flags[a]:
        a += 1
    b = a
    while b < last and flags[b]:
        b += 1
    start, block = net.start[value], net.block[value]
    return (
        start + (a - first) * block,
        start + min((b - first) * block, net.width[value])
        if b > a
        else start + (a - first) * block,
        b,
    )


@fast_kernel
def _constants(
    net: Net, state: State, box: int, value: int, p: Floats, flags: NDArray[np.uint8]
) -> tuple[float, float]:
    """Rows at a pre-activation: (constant, absolute terms) of the segment's offset."""
    total = size = 0.0
    block = net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, flags)
        if i == end:
            return total, size
        for j in range(i, end):
            total += p[j] * net.offset[j]
            size += abs(p[j]) * state.magnitude[box, j]


@fast_kernel
def input_minimum(
    state: State, balls: Balls, box: int, a: Floats, point: Floats
) -> tuple[float, float]:
    """Smallest value of a row on the input over ball and box, absolute terms; the minimiser.

    a . c - max{ sum |a_j| t_j : 0 <= t_j <= d_j, ||t|| <= r }, with d_j the way to the box's side
    that lies against a_j. The maximum is at most its Lagrange dual at any multiplier m >= 0,

        l2: m r^2 / 2 + sum (|a_j| t_j - m t_j^2 / 2),  t_j = min(|a_j| / m, d_j);
        l1: m r + sum d_j max(|a_j| - m, 0),

    so an inexact multiplier costs tightness, never soundness.
    """
    low, high = state.low[box, : len(a)], state.high[box, : len(a)]
    total = size = 0.0
    for j in range(len(a)):
        positive, negative = max(a[j], 0.0), min(a[j], 0.0)
        point[j] = low[j] if a[j] >= 0.0 else high[j]
        total += positive * low[j] + negative * high[j]
        size += (positive - negative) * max(abs(low[j]), abs(high[j]))
    if balls.order == 0:
        return total, size
    center, r = balls.center[box], balls.radius[box]
    multiplier = _multiplier(a, center, low, high, r, balls.order)
    if multiplier <= 0.0:
        return total, size
    middle, gain, terms = 0.0, multiplier * r * (0.5 * r if balls.order == 2 else 1.0), 0.0
    terms += gain
    for j in range(len(a)):
        steep = abs(a[j])
        way = center[j] - low[j] if a[j] >= 0.0 else high[j] - center[j]
        if balls.order == 2:
            t = min(steep / multiplier, way)
            gain += steep * t - 0.5 * multiplier * t * t
        else:
            t = way if steep > multiplier else 0.0
            gain += way * max(steep - multiplier, 0.0)
        middle += a[j] * center[j]
        terms += steep * (2.0 * abs(center[j]) + abs(low[j]) + abs(high[j]) + 2.0 * way)
        point[j] = center[j] - t if a[j] >= 0.0 else center[j] + t
    if middle - gain > total:
        return middle - gain, terms
    return total, max(size, terms)


@fast_kernel
def _multiplier(
    a: Floats, center: Floats, low: Floats, high: Floats, r: float, order: int
) -> float:
    """A nearly optimal multiplier of the norm; 0 where the box alone decides."""
    if order == 1:
        rank = np.argsort(-np.abs(a))
        left = r
        for j in rank:
            left -= center[j] - low[j] if a[j] >= 0.0 else high[j] - center[j]
            if left <= 0.0:
                return float(abs(a[j]))
        return 0.0
    multiplier = np.sqrt(np.sum(a * a)) / r if r > 0.0 else 0.0
    for _ in range(12):
        free, left = 0.0, r * r
        for j in range(len(a)):
            way = center[j] - low[j] if a[j] >= 0.0 else high[j] - center[j]
            if abs(a[j]) > multiplier * way:
                left -= way * way
            else:
                free += a[j] * a[j]
        if left <= 0.0 or free <= 0.0:
            break
        better = np.sqrt(free / left)
        if better >= multiplier * (1.0 - 1e-6):
            break
        multiplier = better
    return float(multiplier)


@fast_kernel
def _clear(net: Net, last: int, work: Work) -> None:
    """Zeros on everything that rows have reached among values 0 to `last`."""
    for value in range(last + 1):
        block = net.first_block[value]
        while True:
            i, end, after = reached(net, value, block, work.flags)
            if i == end:
                break
            work.p[i:end] = 0.0
            work.q[i:end] = 0.0
            work.flags[block:after] = 0
            block = after
