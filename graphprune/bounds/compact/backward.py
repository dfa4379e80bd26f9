"""Backward relaxation of many rows at a time, as small matrix products.

The rows of one batch (up to `BATCH`, on the same box, neighbours in the layout) stand side by
side, see `RowBatch`. Going down a segment is then one product per block, its live neurons' weights
times their coefficients, and a neuron's relaxation and bounds are read once for all rows.
Neighbours share most of their receptive field. Neurons that no row uses (inactive ones among them)
are left out of the products; a row that is known to be positive leaves the batch.
"""

from typing import NamedTuple

import numpy as np

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
from graphprune.runtime.jit import fast_kernel, fast_part
from graphprune.runtime.loops import copy, greatest

# Rows side by side: more of them no longer fit the first cache.
BATCH = 32
# Fewer rows on networks whose batches would hold more numbers than this.
MOST = 1 << 24
# Rows leave a batch when at least this many can.
LEAVE = 4
# A block is used whole when at least this part of its neurons is live.
FULL = 0.8


class Descent(NamedTuple):
    """The way of rows on the pre-activation of value `target` down to the input.

    Attributes
    ----------
    depth
        Activations below this value are taken by their bounds, not by their relaxations (1: none).
    gamma, tiny
        Rounding errors relative to the absolute terms, and the absolute rest.
    every_depth
        Take the best of stopping at any activation on the way down.
    until_stable
        A row is finished as soon as its bound is not negative.
    """

    target: int
    depth: int
    gamma: float
    tiny: float
    every_depth: bool
    until_stable: bool


@fast_part
def live_rows(here: Floats, live: Ints) -> int:
    """Put the rows of `here` that are not 0 into `live`, all where few are; their number."""
    neurons, n = here.shape
    count = 0
    for k in range(neurons):
        used = False
        for r in range(n):
            used |= here[k, r] != 0.0
        live[count] = k
        count += used
    # A few zeros cost less than putting the others together.
    if FULL * neurons <= count < neurons:
        for k in range(neurons):
            live[k] = k
        count = neurons
    return count


@fast_part
def chosen(net: Net, w: int, width: int, live: Ints, whole: bool, room: Floats) -> Floats:
    """The weights (len(live), width) of neurons of a group: where they are, or put into `room`."""
    count = len(live)
    if whole:
        return net.weights[w : w + count * width].reshape(count, width)
    weights = room[: count * width].reshape(count, width)
    for k in range(count):
        copy(net.weights[w + live[k] * width :], weights[k])
    return weights


@fast_part
def push(net: Net, batch: RowBatch, target: int, scratch: Floats) -> None:
    """Rows at a pre-activation become rows at the sources of its segment; leaves zeros behind."""
    n, x, flags = batch.width, batch.x, batch.flags
    block = net.block[target]
    live = np.empty(block, dtype=np.int64)
    for b in range(net.first_block[target], net.first_block[target + 1]):
        if not flags[b]:
            continue
        flags[b] = 0
        number = b - net.first_block[target]
        base = net.start[target] + number * block
        neurons = min(block, net.width[target] - number * block)
        here = x[base * n : (base + neurons) * n].reshape(neurons, n)
        count = live_rows(here, live)
        if count == 0:
            continue
        rows = scratch[: count * n].reshape(count, n)
        for k in range(count):
            copy(here[live[k]], rows[k])
        here[:] = 0.0
        free = count * n
        for e in range(net.edge_start[target - 1], net.edge_start[target]):
            if net.edge_pick[e] >= 0:
                _pick(net, net.edge_pick[e] + number * block, live[:count], rows, x, flags)
                continue
            first = net.edge_group[e] + number * (1 if net.edge_block[e] == block else block)
            if net.edge_block[e] == block:  # the neurons of a block form one group
                width = net.group_width[first]
                w, y = net.group_weight[first], free + count * width
                weights = chosen(net, w, width, live[:count], count == neurons, scratch[free:])
                into = scratch[y : y + width * n]
                np.dot(weights.T, rows, into.reshape(width, n))
                _scatter(net, first, n, into, x, flags)
                continue
            for k in range(count):
                group = first + live[k]
                width, w = net.group_width[group], net.group_weight[group]
                into = scratch[free : free + width * n]
                for j in range(width):
                    weight = net.weights[w + j]
                    for r in range(n):
                        into[j * n + r] = weight * rows[k, r]
                _scatter(net, group, n, into, x, flags)


@fast_part
def _pick(net: Net, first: int, live: Ints, rows: Floats, x: Floats, flags: Flags) -> None:
    """Add rows (live, n) to the one element that each neuron reads; `first` is the block's pick."""
    n = rows.shape[1]
    for k in range(len(live)):
        column, weight = net.pick_column[first + live[k]], net.pick_weight[first + live[k]]
        if column >= 0:
            flags[net.pick_block[first + live[k]]] = 1
            for r in range(n):
                x[column * n + r] += weight * rows[k, r]


@fast_part
def _scatter(net: Net, group: int, n: int, rows: Floats, x: Floats, flags: Flags) -> None:
    """Add `n` rows to the elements that a group reads."""
    o = 0
    for run in range(net.group_run[group], net.group_run[group + 1]):
        flags[net.run_first[run] : net.run_last[run] + 1] = 1
        at, length = net.run_column[run] * n, net.run_length[run] * n
        into, more = x[at : at + length], rows[o : o + length]
        for j in range(length):
            into[j] += more[j]
        o += length


@fast_part
def constants(net: Net, state: LayerState, batch: RowBatch, value: int) -> None:
    """Add the segment's offset, and its absolute terms, of rows at a pre-activation."""
    box, n, x, total, size = batch.box, batch.width, batch.x, batch.total, batch.terms
    block = net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, batch.flags)
        if i == end:
            return
        for j in range(i, end):
            offset, magnitude, row = net.offset[j], state.magnitude[box, j], x[j * n : (j + 1) * n]
            for r in range(n):
                total[r] += row[r] * offset
                size[r] += abs(row[r]) * magnitude


@fast_part
def _minimum(net: Net, state: LayerState, batch: RowBatch, value: int) -> None:
    """Add the smallest value of the rows on one value within its bounds; absolute terms."""
    box, n, x, total, size = batch.box, batch.width, batch.x, batch.total, batch.terms
    block = net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, batch.flags)
        if i == end:
            return
        for j in range(i, end):
            low, high, row = state.low[box, j], state.high[box, j], x[j * n : (j + 1) * n]
            largest = max(abs(low), abs(high))
            if largest == 0.0:
                continue
            for r in range(n):
                a = row[r]
                total[r] += max(a, 0.0) * low + min(a, 0.0) * high
                size[r] += abs(a) * largest


@fast_part
def even(net: Net, value: int, n: int, flags: Flags, x: Floats) -> None:
    """Give both neurons of every pair of an activation that rows have reached their mean."""
    if net.paired[value] == 0:
        return
    block = net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, flags)
        if i == end:
            return
        for j in range(i, end, 2):
            for k in range(j * n, (j + 1) * n):
                x[k] = x[k + n] = 0.5 * (x[k] + x[k + n])


@fast_part
def relax(net: Net, state: LayerState, batch: RowBatch, value: int) -> None:
    """Rows at an activation become rows at its pre-activation; constants and absolute terms.

    Includes what `constants` counts for the rows it leaves.
    """
    box, n, x, total, size = batch.box, batch.width, batch.x, batch.total, batch.terms
    even(net, value, n, batch.flags, x)
    block = net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, batch.flags)
        if i == end:
            return
        for j in range(i, end):
            ls, lo = state.lower_slope[box, j], state.lower_offset[box, j]
            us, uo = state.upper_slope[box, j], state.upper_offset[box, j]
            offset, magnitude, row = net.offset[j], state.magnitude[box, j], x[j * n : (j + 1) * n]
            if ls == us and lo == 0.0 and uo == 0.0:  # a stable neuron
                for r in range(n):
                    below = row[r] * ls
                    total[r] += below * offset
                    size[r] += abs(below) * magnitude
                    row[r] = below
                continue
            for r in range(n):
                positive, negative = max(row[r], 0.0), min(row[r], 0.0)
                below = positive * ls + negative * us
                total[r] += positive * lo + negative * uo + below * offset
                size[r] += positive * abs(lo) - negative * abs(uo) + abs(below) * magnitude
                row[r] = below


@fast_part
def _leave(net: Net, batch: RowBatch, last: int, kept: Ints, spare: Floats) -> None:
    """Move the kept rows of a batch, on values 0 to `last`, to zeros; leaves zeros behind."""
    n, x, flags, m = batch.width, batch.x, batch.flags, len(kept)
    for value in range(last + 1):
        block = net.first_block[value]
        while True:
            i, end, block = reached(net, value, block, flags)
            if i == end:
                break
            for j in range(i, end):
                for r in range(m):
                    spare[j * m + r] = x[j * n + kept[r]]
            x[i * n : end * n] = 0.0


@fast_part
def clear(net: Net, batch: RowBatch, last: int) -> None:
    """Zeros on everything that rows have reached among values 0 to `last`."""
    n, x, flags = batch.width, batch.x, batch.flags
    for value in range(last + 1):
        first = block = net.first_block[value]
        while True:
            i, end, block = reached(net, value, block, flags)
            if i == end:
                break
            x[i * n : end * n] = 0.0
        flags[first : net.first_block[value + 1]] = 0


@fast_part
def _stop(net: Net, state: LayerState, balls: Balls | None, batch: RowBatch, value: int) -> None:
    """Add the smallest value of the rows on the values 0 to `value`; absolute terms."""
    first = 0
    if balls is not None:  # noqa: SIM102 - the compiler leaves out what stands behind it alone
        if value == 0:
            inputs, n = net.width[0], batch.width
            point = np.empty(inputs)
            for r in range(n):
                row = batch.x[: inputs * n].reshape(inputs, n)[:, r].copy()
                least, terms = input_minimum(state, balls, batch.box, row, point)
                batch.total[r] += least
                batch.terms[r] += terms
            first = 1
    for v in range(first, value + 1):
        _minimum(net, state, batch, v)


def most_rows(indices: int, arrays: int = 1) -> int:
    """Rows of one batch on a network of so many indices, with so many numbers each a row."""
    return max(1, min(BATCH, MOST // (arrays * indices)))


@fast_part
def batch_end(box: Ints, begin: int, most: int) -> int:
    """The end of the batch of rows from `begin` on: at most so many, all on one box."""
    end = begin
    while end < len(box) and end < begin + most and box[end] == box[begin]:
        end += 1
    return end


@fast_part
def enter(net: Net, target: int, given: SparseRows, rows: Ints, batch: RowBatch) -> None:
    """Put `rows` of the given ones into a batch, on the pre-activation of value `target`."""
    base, block, n = net.start[target], net.block[target], batch.width
    for r in range(n):
        for i in range(given.pointer[rows[r]], given.pointer[rows[r] + 1]):
            batch.x[(base + given.column[i]) * n + r] = given.coefficient[i]
            batch.flags[net.first_block[target] + given.column[i] // block] = 1


@fast_kernel
def lower_bounds(
    net: Net, state: LayerState, balls: Balls | None, given: SparseRows, way: Descent, out: Floats
) -> None:
    """Lower bounds (R,) of rows on a pre-activation, into `out`."""
    most = max(1, min(BATCH, MOST // len(net.offset)))
    x, spare = np.zeros(len(net.offset) * most), np.zeros(len(net.offset) * most)
    flags = np.zeros(net.first_block[-1], dtype=np.uint8)
    widest, tallest = greatest(net.group_width), greatest(net.block)
    scratch = np.empty(tallest * most + widest * (tallest + most))
    rows, kept = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64)
    total, size, least, terms = np.empty(most), np.empty(most), np.empty(most), np.empty(most)
    begin = 0
    while begin < len(out):
        at, end = given.box[begin], batch_end(given.box, begin, most)
        n = end - begin
        for r in range(n):
            rows[r] = begin + r
            out[begin + r] = -np.inf
        total[:] = size[:] = 0.0
        batch = RowBatch(at, n, x, flags, total, size)
        enter(net, way.target, given, rows, batch)
        begin = end
        constants(net, state, batch, way.target)
        value = way.target
        while True:
            push(net, batch, value, scratch)
            value -= 1
            if way.every_depth or value < way.depth:
                copy(total, least[:n])
                copy(size, terms[:n])
                _stop(net, state, balls, RowBatch(at, n, x, flags, least, terms), value)
                for r in range(n):
                    good = abs(least[r]) < np.inf
                    bound = max(out[rows[r]], least[r] - way.gamma * terms[r] - way.tiny)
                    out[rows[r]] = bound if good else np.nan
            if value < way.depth:
                break
            if way.until_stable:
                left = 0
                for r in range(n):
                    if not out[rows[r]] >= 0.0:
                        kept[left] = r
                        left += 1
                if left == 0:
                    break
                if left <= n - LEAVE:
                    _leave(net, batch, value, kept[:left], spare)
                    x, spare, n = spare, x, left
                    for r in range(n):
                        rows[r], total[r], size[r] = rows[kept[r]], total[kept[r]], size[kept[r]]
                    batch = RowBatch(at, n, x, flags, total, size)
            relax(net, state, batch, value)
        clear(net, batch, value)
