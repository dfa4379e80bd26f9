"""Arrays of the compiled loops, passes upwards, and the minimum over the input.

Importing this module imports Numba: do it where bounds are computed. Rows go down in `backward`;
a block of a value is visited only when a row has reached it.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds.compact.layout import Compact
from graphprune.runtime.jit import fast_kernel, fast_part
from graphprune.runtime.loops import sink

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.uint8]


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
    edge_pick: Ints
    pick_column: Ints
    pick_block: Ints
    pick_weight: Floats
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
    paired: Ints

    @classmethod
    def of(cls, compact: Compact) -> "Net":
        return cls(*(getattr(compact, name) for name in cls._fields))


class LayerState(NamedTuple):
    """Bounds and relaxations on a batch of boxes; float64 arrays (B, total), see `Compact`.

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
    def empty(cls, batch: int, total: int) -> "LayerState":
        return cls(*(np.zeros((batch, total)) for _ in cls._fields))


class Balls(NamedTuple):
    """The balls that the inputs' boxes surround: center (B, inputs) in layout order, radius (B,).

    `order` is 1 or 2, the norm's. Kernels take None where boxes are all there is, and are compiled
    without balls then: that is an eighth of the first call's time.
    """

    center: Floats
    radius: Floats
    order: int


class SparseRows(NamedTuple):
    """Rows on a value, as a sparse matrix, and the box each of them is on.

    `box` (R,) does not fall; row r has the entries `pointer[r]` to `pointer[r + 1]`, whose columns
    count in the value's layout order.
    """

    box: Ints
    pointer: Ints
    column: Ints
    coefficient: Floats


class RowBatch(NamedTuple):
    """Rows that go down side by side, on one box.

    ``x[i * width + r]`` is the coefficient of row r at index i. `flags` marks the blocks that a
    row has reached; `total` and `terms` (width,) are the constants so far and the absolute terms
    that rounding is proportional to.
    """

    box: int
    width: int
    x: Floats
    flags: Flags
    total: Floats
    terms: Floats


@fast_kernel
def interval(
    net: Net, state: LayerState, target: int, gamma: float, lower: Floats, upper: Floats
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


@fast_part
def reached(net: Net, value: int, begin: int, flags: Flags) -> tuple[int, int, int]:
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


@fast_part
def input_minimum(
    state: LayerState, balls: Balls | None, box: int, a: Floats, point: Floats
) -> tuple[float, float]:
    """Smallest value of a row on the input over ball and box, absolute terms; the minimiser."""
    low, high = state.low[box, : len(a)], state.high[box, : len(a)]
    total = size = 0.0
    for j in range(len(a)):
        positive, negative = max(a[j], 0.0), min(a[j], 0.0)
        point[j] = low[j] if a[j] >= 0.0 else high[j]
        total += positive * low[j] + negative * high[j]
        size += (positive - negative) * max(abs(low[j]), abs(high[j]))
    if balls is not None:
        least, terms = _ball_minimum(balls, box, a, low, high, point)
        if least > -np.inf:
            return max(least, total), terms if least > total else max(size, terms)
    return total, size


@fast_part
def _ball_minimum(
    balls: Balls, box: int, a: Floats, low: Floats, high: Floats, point: Floats
) -> tuple[float, float]:
    """Smallest value of a row over a ball within a box; -inf where the box alone decides.

    Replaces the minimiser over the box in `point` otherwise. With absolute terms: the value is

    a . c - max{ sum |a_j| t_j : 0 <= t_j <= d_j, ||t|| <= r }, with d_j the way to the box's side
    that lies against a_j. The maximum is at most its Lagrange dual at any multiplier m >= 0,

        l2: m r^2 / 2 + sum (|a_j| t_j - m t_j^2 / 2),  t_j = min(|a_j| / m, d_j);
        l1: m r + sum d_j max(|a_j| - m, 0),

    so an inexact multiplier costs tightness, never soundness.
    """
    center, r = balls.center[box], balls.radius[box]
    multiplier = _multiplier(a, center, low, high, r, balls.order)
    if multiplier <= 0.0:
        return -np.inf, 0.0
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
    return middle - gain, terms


@fast_part
def _multiplier(
    a: Floats, center: Floats, low: Floats, high: Floats, r: float, order: int
) -> float:
    """A nearly optimal multiplier of the norm; 0 where the box alone decides."""
    if order == 1:
        # A heap of as many as are needed: sorting all of them compiles for seconds.
        rank, left, count = np.empty(len(a), dtype=np.int64), r, len(a)
        for j in range(count):
            rank[j] = j
        for j in range(count // 2 - 1, -1, -1):
            sink(a, rank, j, count)
        while count > 0:
            j = rank[0]
            left -= center[j] - low[j] if a[j] >= 0.0 else high[j] - center[j]
            if left <= 0.0:
                return float(abs(a[j]))
            count -= 1
            rank[0] = rank[count]
            sink(a, rank, 0, count)
        return 0.0
    total = 0.0
    for j in range(len(a)):
        total += a[j] * a[j]
    multiplier = np.sqrt(total) / r if r > 0.0 else 0.0
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
