"""alpha-CROWN: the relaxations of every row chosen by projected Adam, in compiled loops.

The method and its formulas are those of :mod:`graphprune.transforms.optimisation`. The rows of a
batch stand side by side as in :mod:`graphprune.bounds.compact.backward`, in every array: the number
of row r of n at index i is at i * n + r. Rows that are good enough leave the batch.
"""

from typing import NamedTuple

import numpy as np

from graphprune.bounds.compact.backward import (
    Descent,
    chosen,
    clear,
    constants,
    enter,
    even,
    live_rows,
    push,
)
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
from graphprune.bounds.compact.layout import Compact
from graphprune.runtime.jit import fast_kernel, fast_part
from graphprune.runtime.loops import copy, greatest
from graphprune.transforms.optimisation import ADAM

# Arrays of one number per index and row.
ARRAYS = 8


class Adam(NamedTuple):
    """`steps` of ascent at a `rate`; rows whose bound is above `enough` are finished."""

    steps: int
    rate: float
    enough: float


class Mixtures(NamedTuple):
    """The mixtures of every row and neuron, and what finds better ones; see the module.

    Attributes
    ----------
    alpha
        Shares of the second relaxation, from 0 to 1.
    mean, square
        Running means of the gradient and of its square.
    gradient
        The derivative of the bounds by the mixtures.
    output
        Rows at the activations' outputs.
    point
        Values of the activations at the minimisers of the rows.
    """

    alpha: Floats
    mean: Floats
    square: Floats
    gradient: Floats
    output: Floats
    point: Floats


@fast_part
def _relax_mixed(
    net: Net, state: LayerState, other: LayerState, batch: RowBatch, mixtures: Mixtures, value: int
) -> None:
    """`backward.relax` with mixtures; notes the rows at the activation in ``mixtures.output``."""
    box, n, x, total, size = batch.box, batch.width, batch.x, batch.total, batch.terms
    alpha, output = mixtures.alpha, mixtures.output
    even(net, value, n, batch.flags, x)
    block = net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, batch.flags)
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


@fast_part
def _carry_up(
    net: Net, state: LayerState, other: LayerState, batch: RowBatch, mixtures: Mixtures, value: int,
    scratch: Floats,
) -> None:  # fmt: skip
    """Carry the points of the rows from the values below to `value`; derivatives on the way."""
    n, live = batch.width, np.empty(net.block[value], dtype=np.int64)
    for b in range(net.first_block[value], net.first_block[value + 1]):
        base, count = pre_activations(
            net, n, value, b, mixtures.output, mixtures.point, live, scratch
        )
        if count == 0:
            continue
        z = scratch[: count * n].reshape(count, n)
        _through(state, other, batch, mixtures, base, live[:count], z)
    if net.paired[value] != 0:
        _tie(mixtures.gradient, net.start[value] * n, (net.start[value] + net.width[value]) * n, n)


@fast_part
def pre_activations(
    net: Net, n: int, value: int, b: int, output: Floats, point: Floats, live: Ints,
    scratch: Floats,
) -> tuple[int, int]:  # fmt: skip
    """Put what the neurons of block `b` make of `n` points into `scratch`, (neurons, n).

    Only of those where a row of `output` is not 0, whose places go into `live`. Returns the index
    of the block's first neuron, and their number.
    """
    block = net.block[value]
    number = b - net.first_block[value]
    base = net.start[value] + number * block
    neurons = min(block, net.width[value] - number * block)
    here = output[base * n : (base + neurons) * n].reshape(neurons, n)
    count = live_rows(here, live)
    z = scratch[: count * n].reshape(count, n)
    for k in range(count):
        z[k] = net.offset[base + live[k]]
    if count == 0:
        return base, count
    for e in range(net.edge_start[value - 1], net.edge_start[value]):
        first = net.edge_group[e] + number * (1 if net.edge_block[e] == block else block)
        if net.edge_block[e] == block:  # the neurons of a block form one group
            _values(net, first, n, live[:count], count == neurons, point, z, scratch[count * n :])
            continue
        for k in range(count):
            group = first + live[k]
            _values(net, group, n, live[:1], True, point, z[k : k + 1], scratch[count * n :])
    return base, count


@fast_part
def _tie(gradient: Floats, first: int, last: int, n: int) -> None:
    """Give both neurons of every pair the mean of their derivatives: they have one mixture."""
    for j in range(first, last, 2 * n):
        one, other = gradient[j : j + n], gradient[j + n : j + 2 * n]
        for r in range(n):
            one[r] = other[r] = 0.5 * (one[r] + other[r])


@fast_part
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
        copy(point[at:], scratch[o : o + length])
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


@fast_part
def _through(
    state: LayerState, other: LayerState, batch: RowBatch, mixtures: Mixtures, base: int,
    live: Ints, z: Floats,
) -> None:  # fmt: skip
    """Values of the relaxations that the rows used at pre-activations z; derivatives by alpha."""
    box, n = batch.box, batch.width
    for k in range(len(live)):
        j = base + live[k]
        ls, lo = state.lower_slope[box, j], state.lower_offset[box, j]
        us, uo = state.upper_slope[box, j], state.upper_offset[box, j]
        dls, dlo = other.lower_slope[box, j] - ls, other.lower_offset[box, j] - lo
        dus, duo = other.upper_slope[box, j] - us, other.upper_offset[box, j] - uo
        here = z[k]
        used, mix = mixtures.output[j * n : (j + 1) * n], mixtures.alpha[j * n : (j + 1) * n]
        to, by = mixtures.point[j * n : (j + 1) * n], mixtures.gradient[j * n : (j + 1) * n]
        for r in range(n):
            if used[r] >= 0.0:
                steepness, value = dls * here[r] + dlo, ls * here[r] + lo
            else:
                steepness, value = dus * here[r] + duo, us * here[r] + uo
            to[r] = value + mix[r] * steepness
            by[r] = used[r] * steepness


@fast_part
def _ascend(mixtures: Mixtures, first: int, last: int, rate: float, step: int) -> None:
    """One projected step of Adam on the mixtures from `first` to `last`."""
    alpha, gradient = mixtures.alpha[first:last], mixtures.gradient[first:last]
    mean, square = mixtures.mean[first:last], mixtures.square[first:last]
    scale = rate * ADAM.decay**step / (1.0 - ADAM.first ** (step + 1))
    correction = 1.0 / (1.0 - ADAM.second ** (step + 1))
    for j in range(len(alpha)):
        g = gradient[j]
        mean[j] = ADAM.first * mean[j] + (1.0 - ADAM.first) * g
        square[j] = ADAM.second * square[j] + (1.0 - ADAM.second) * g * g
        move = scale * mean[j] / (np.sqrt(square[j] * correction) + 1e-12)
        alpha[j] = min(max(alpha[j] + move, 0.0), 1.0)


@fast_part
def _keep(array: Floats, elements: int, n: int, kept: Ints) -> None:
    """Leave only the kept ones of n rows, of `elements` elements each."""
    m = len(kept)
    for i in range(elements):
        for r in range(m):  # never beyond what is still to be read
            array[i * m + r] = array[i * n + kept[r]]


@fast_part
def _minima(
    net: Net, state: LayerState, balls: Balls | None, batch: RowBatch, point: Floats, least: Floats
) -> bool:
    """Add the minimum over the input of every row, found at `point`; False where it is no number.

    `least` (inputs,) is room.
    """
    inputs, n = net.width[0], batch.width
    sound = True
    for r in range(n):
        row = batch.x[: inputs * n].reshape(inputs, n)[:, r].copy()
        t, s = input_minimum(state, balls, batch.box, row, least)
        copy(least, point[: inputs * n].reshape(inputs, n)[:, r])
        batch.total[r] += t
        batch.terms[r] += s
        sound &= abs(batch.total[r]) < np.inf
    return sound


class AscentState(NamedTuple):
    """A batch of rows between two calls.

    Attributes
    ----------
    rows
        Their numbers.
    mixtures
        Those of the rows that are left, side by side.
    x, flags
        Room of a `RowBatch`, zero between two calls.
    adam
        Finds better mixtures.
    width
        The number of its rows; they are the first ones.
    first, last
        The step to be taken next, and the one to stop before.
    """

    rows: Ints
    mixtures: Mixtures
    x: Floats
    flags: Flags
    adam: Adam
    width: int = 0
    first: int = 0
    last: int = 0

    @classmethod
    def empty(cls, rows: int, below: int, network: Compact, adam: Adam) -> "AscentState":
        """Room for so many rows, which have mixtures at so many indices."""
        return cls(
            np.empty(rows, np.int64),
            Mixtures(*(np.zeros(below * rows) for _ in range(6))),
            np.zeros(network.total * rows),
            np.zeros(network.first_block[-1], np.uint8),
            adam,
        )

    def begin(self, first: int, count: int, below: int) -> None:
        """Take so many rows from a first one on, with no mixtures yet."""
        self.rows[:count] = first + np.arange(count)
        for part in self.mixtures[:3]:
            part[: below * count] = 0.0


@fast_kernel
def ascend(
    net: Net, state: LayerState, other: LayerState, balls: Balls | None, given: SparseRows,
    way: Descent, batched: AscentState, out: Floats,
) -> int:  # fmt: skip
    """`backward.lower_bounds` of a batch with relaxations optimised for every row.

    Parameters
    ----------
    other
        The second relaxation of every side; the first step uses those of `state` alone.
    out
        (R,) receives the better of what it held and the best bound of these steps.

    Returns
    -------
    int
        The number of rows that are left; they are the first ones of `batched`.
    """
    n, rows, mixtures, adam = batched.width, batched.rows, batched.mixtures, batched.adam
    target = way.target
    base, inputs = net.start[target], net.width[0]
    x, flags = batched.x, batched.flags
    widest, tallest = greatest(net.group_width), greatest(net.block)
    scratch = np.empty(2 * tallest * n + widest * (tallest + n))
    total, size, least = np.empty(n), np.empty(n), np.empty(inputs)
    kept = np.empty(n, dtype=np.int64)
    for step in range(batched.first, batched.last):
        left = 0
        for r in range(n):
            if not out[rows[r]] > adam.enough:
                kept[left] = r
                left += 1
        if left == 0:
            return 0
        if left < n:
            for part in (mixtures.alpha, mixtures.mean, mixtures.square):
                _keep(part, base, n, kept[:left])
            n = left
            for r in range(n):
                rows[r] = rows[kept[r]]
        batch = RowBatch(given.box[rows[0]], n, x, flags, total, size)
        enter(net, target, given, rows, batch)
        total[:] = size[:] = 0.0
        constants(net, state, batch, target)
        push(net, batch, target, scratch)
        for part in (mixtures.output, mixtures.point, mixtures.gradient):
            part[: base * n] = 0.0
        for value in range(target - 1, 0, -1):
            _relax_mixed(net, state, other, batch, mixtures, value)
            push(net, batch, value, scratch)
        sound = _minima(net, state, balls, batch, mixtures.point, least)
        for r in range(n):
            bound = total[r] - way.gamma * size[r] - way.tiny
            out[rows[r]] = max(out[rows[r]], bound)
        clear(net, batch, 0)
        if not sound:
            for r in range(n):
                out[rows[r]] = np.nan
            return 0
        if step + 1 == adam.steps:
            return 0
        for value in range(1, target):
            _carry_up(net, state, other, batch, mixtures, value, scratch)
        _ascend(mixtures, inputs * n, base * n, adam.rate, step)
    return n
