"""alpha-CROWN: the lines of every row chosen by projected Adam, inside one compiled loop.

The method and its formulas are those of :mod:`graphprune.transforms.optimisation`. Here the rows of
a group stand side by side as in :mod:`graphprune.bounds.compact.lanes`, in every array: the
number of row r of n at index i is at i * n + r. Rows that are good enough leave the group.
"""

import numpy as np

from graphprune.bounds.compact.kernels import (
    Balls,
    Floats,
    Ints,
    Net,
    State,
    input_minimum,
    reached,
)
from graphprune.bounds.compact.lanes import (
    LANES,
    MOST,
    Flags,
    chosen,
    clear,
    constants,
    living,
    push,
)
from graphprune.runtime.jit import fast_kernel
from graphprune.transforms.optimisation import DECAY, FIRST, SECOND

# Arrays of one number per index and row.
ARRAYS = 8


@fast_kernel
def _relax_mixed(
    net: Net, state: State, other: State, box: int, value: int, n: int, x: Floats, flags: Flags,
    alpha: Floats, output: Floats, total: Floats, size: Floats,
) -> None:  # fmt: skip
    """`lanes.relax` with mixed lines; notes the rows at the activation in `output`."""
    block = net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, flags)
        if i == end:
            return
        for j in range(i, end):
            ls, lo = state.lower_slope[box, j], state.lower_offset[box, j]
            us, uo = state.upper_slope[box, j], state.upper_offset[box, j]
            dls, dlo = other.lower_slope[box, j] - ls, other.lower_offset[box, j] - lo
            dus, duo = other.upper_slope[box, j] - us, other.upper_offset[box, j] - uo
            offset, magnitude = net.offset[j], state.magnitude[box, j]
            # Mixing rounds in proportion to both lines, not to the mixture.
            low = abs(lo) + abs(dlo) + (abs(ls) + abs(dls)) * magnitude
            high = abs(uo) + abs(duo) + (abs(us) + abs(dus)) * magnitude
            row, mix = x[j * n : (j + 1) * n], alpha[j * n : (j + 1) * n]
            noted = output[j * n : (j + 1) * n]
            for r in range(n):
                noted[r] = row[r]
                positive, negative, m = max(row[r], 0.0), min(row[r], 0.0), mix[r]
                below = positive * (ls + m * dls) + negative * (us + m * dus)
                total[r] += positive * (lo + m * dlo) + negative * (uo + m * duo) + below * offset
                size[r] += positive * low - negative * high
                row[r] = below


@fast_kernel
def _climb(
    net: Net, state: State, other: State, box: int, value: int, n: int, scratch: Floats,
    output: Floats, alpha: Floats, point: Floats, gradient: Floats,
) -> None:  # fmt: skip
    """Carry the points of the rows from the values below to `value`; derivatives on the way."""
    block = net.block[value]
    live = np.empty(block, dtype=np.int64)
    for b in range(net.first_block[value], net.first_block[value + 1]):
        number = b - net.first_block[value]
        base = net.start[value] + number * block
        neurons = min(block, net.width[value] - number * block)
        here = output[base * n : (base + neurons) * n].reshape(neurons, n)
        count = living(here, live)
        if count == 0:
            continue
        z = scratch[: count * n].reshape(count, n)
        for k in range(count):
            z[k] = net.offset[base + live[k]]
        for e in range(net.edge_start[value - 1], net.edge_start[value]):
            first = net.edge_group[e] + number * (1 if net.edge_block[e] == block else block)
            if net.edge_block[e] == block:  # the neurons of a block form one group
                _values(
                    net, first, n, live[:count], count == neurons, point, z, scratch[count * n :]
                )
                continue
            for k in range(count):
                group = first + live[k]
                one = z[k : k + 1]
                _values(net, group, n, live[:1], True, point, one, scratch[count * n :])
        for k in range(count):
            _through(state, other, box, base + live[k], n, z[k], output, alpha, point, gradient)


@fast_kernel
def _values(
    net: Net, group: int, n: int, live: Ints, whole: bool, point: Floats, z: Floats,
    scratch: Floats,
) -> None:  # fmt: skip
    """Add to `z` (neurons, n) what a group makes of the points it reads.

    Only the neurons `live` of the group are meant; with `whole` its first ones, as many.
    """
    width, w, count = net.group_width[group], net.group_weight[group], len(z)
    o = 0
    for run in range(net.group_run[group], net.group_run[group + 1]):
        at, length = net.run_column[run] * n, net.run_length[run] * n
        scratch[o : o + length] = point[at : at + length]
        o += length
    read = scratch[:o].reshape(width, n)
    weights = chosen(net, w, width, live, whole, scratch[o:])
    if not whole:
        o += count * width
    more = scratch[o : o + count * n].reshape(count, n)
    np.dot(weights, read, more)
    for k in range(count):
        for r in range(n):
            z[k, r] += more[k, r]


@fast_kernel
def _through(
    state: State, other: State, box: int, j: int, n: int, z: Floats, output: Floats,
    alpha: Floats, point: Floats, gradient: Floats,
) -> None:  # fmt: skip
    """The values of the lines the rows used at pre-activations z; derivatives by their mixtures."""
    ls, lo = state.lower_slope[box, j], state.lower_offset[box, j]
    us, uo = state.upper_slope[box, j], state.upper_offset[box, j]
    dls, dlo = other.lower_slope[box, j] - ls, other.lower_offset[box, j] - lo
    dus, duo = other.upper_slope[box, j] - us, other.upper_offset[box, j] - uo
    used, mix = output[j * n : (j + 1) * n], alpha[j * n : (j + 1) * n]
    to, by = point[j * n : (j + 1) * n], gradient[j * n : (j + 1) * n]
    for r in range(n):
        if used[r] >= 0.0:
            steepness, value = dls * z[r] + dlo, ls * z[r] + lo
        else:
            steepness, value = dus * z[r] + duo, us * z[r] + uo
        to[r] = value + mix[r] * steepness
        by[r] = used[r] * steepness


@fast_kernel
def _adam(
    alpha: Floats, gradient: Floats, mean: Floats, square: Floats, rate: float, step: int
) -> None:
    """One projected ascent step."""
    scale = rate * DECAY**step / (1.0 - FIRST ** (step + 1))
    correction = 1.0 / (1.0 - SECOND ** (step + 1))
    for j in range(len(alpha)):
        g = gradient[j]
        mean[j] = FIRST * mean[j] + (1.0 - FIRST) * g
        square[j] = SECOND * square[j] + (1.0 - SECOND) * g * g
        move = scale * mean[j] / (np.sqrt(square[j] * correction) + 1e-12)
        alpha[j] = min(max(alpha[j] + move, 0.0), 1.0)


@fast_kernel
def _keep(array: Floats, elements: int, n: int, kept: Ints) -> None:
    """Leave only the kept ones of n rows, of `elements` elements each."""
    m = len(kept)
    for i in range(elements):
        for r in range(m):  # never beyond what is still to be read
            array[i * m + r] = array[i * n + kept[r]]


@fast_kernel
def optimised_bounds(
    net: Net, state: State, other: State, balls: Balls, target: int, gamma: float, tiny: float,
    steps: int, rate: float, enough: float,
    box: Ints, pointer: Ints, index: Ints, coefficient: Floats, out: Floats,
) -> None:  # fmt: skip
    """`lanes.lower_bounds` with lines optimised for every row.

    Parameters
    ----------
    other
        The second line of every side; the first step uses those of `state` alone.
    steps, rate
        Of Adam.
    enough
        A row is finished when its bound is above this.
    out
        (R,) receives the better of what it held and the best bound of all steps.
    """
    lanes = max(1, min(LANES, MOST // (ARRAYS * len(net.offset))))
    base, block, inputs = net.start[target], net.block[target], net.width[0]
    x = np.zeros(len(net.offset) * lanes)
    alpha, mean, square, gradient, output, point = (
        np.zeros(base * lanes), np.zeros(base * lanes), np.zeros(base * lanes),
        np.zeros(base * lanes), np.zeros(base * lanes), np.zeros(base * lanes),
    )  # fmt: skip
    flags = np.zeros(net.first_block[-1], dtype=np.uint8)
    widest, tallest = np.max(net.group_width), np.max(net.block)
    scratch = np.empty(2 * tallest * lanes + widest * (tallest + lanes))
    total, size, least = np.empty(lanes), np.empty(lanes), np.empty(inputs)
    begin = 0
    while begin < len(out):
        at, after = box[begin], begin
        while after < len(out) and after < begin + lanes and box[after] == at:
            after += 1
        rows = np.arange(begin, after)
        n = len(rows)
        begin = after
        for part in (alpha, mean, square):
            part[: base * n] = 0.0
        for step in range(steps):
            kept = np.flatnonzero(~(out[rows] > enough))
            if len(kept) == 0:
                break
            if len(kept) < n:
                for part in (alpha, mean, square):
                    _keep(part, base, n, kept)
                rows = rows[kept]
                n = len(rows)
            for r in range(n):
                for i in range(pointer[rows[r]], pointer[rows[r] + 1]):
                    x[(base + index[i]) * n + r] = coefficient[i]
                    flags[net.first_block[target] + index[i] // block] = 1
            total[:] = size[:] = 0.0
            constants(net, state, at, target, n, x, flags, total, size)
            push(net, target, n, x, flags, scratch)
            for part in (output, point, gradient):
                part[: base * n] = 0.0
            for value in range(target - 1, 0, -1):
                _relax_mixed(
                    net, state, other, at, value, n, x, flags, alpha, output, total, size
                )  # fmt: skip
                push(net, value, n, x, flags, scratch)
            sound = True
            for r in range(n):
                row = x[: inputs * n].reshape(inputs, n)[:, r].copy()
                t, s = input_minimum(state, balls, at, row, least)
                point[: inputs * n].reshape(inputs, n)[:, r] = least
                total[r] += t
                size[r] += s
                sound &= abs(total[r]) < np.inf
                out[rows[r]] = max(out[rows[r]], total[r] - gamma * size[r] - tiny)
            clear(net, 0, n, x, flags)
            if not sound:
                out[rows] = np.nan
                break
            if step + 1 == steps:
                break
            for value in range(1, target):
                _climb(
                    net, state, other, at, value, n, scratch, output, alpha, point, gradient
                )  # fmt: skip
            first, last = inputs * n, base * n
            _adam(
                alpha[first:last], gradient[first:last], mean[first:last], square[first:last],
                rate, step,
            )  # fmt: skip
