"""Bounds over many small boxes in compiled float64 code: the inner loop of input splitting.

Per box, layer by layer: a zonotope (Singh et al. 2018) carries every neuron as an affine form of
the box and of one error term per unstable neuron; neurons it leaves unstable get CROWN bounds
(Zhang et al. 2018) by a backward pass, which sharpen the zonotope above. The constraints of the
unsafe set then get CROWN bounds; what these say of the inputs shrinks the box.

Rounding: every sum of products is off by at most gamma times the sum of its absolute terms
(Higham 2002, section 3.1), which is carried along as `mass`, and added outward; see
:class:`~graphprune.backends.verify.rows.Rows`. What materialising a row lost is its `error`.

The functions are compiled by Numba at their first call and kept on disk; keep them in this one
file, whose date decides whether the kept code is still good.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify.rows import Rows
from graphprune.runtime.jit import kernel

Floats = NDArray[np.float64]

# Weight of an input's linear part against its part in the relaxation's loss, when splitting.
LINEAR = 0.25
# Steps of the ascent on a conjunction's multipliers.
DUAL_STEPS = 20


class Goals(NamedTuple):
    """Constraints c of the unsafe set as rows over the basis: c . v + offset <= 0.

    Attributes
    ----------
    rows
        (K, basis).
    offset, error
        (K,); `error` includes what materialising the row lost on the region's box.
    first
        Polytope p is the conjunction of goals ``first[p]:first[p + 1]``.
    """

    rows: Floats
    offset: Floats
    error: Floats
    first: NDArray[np.int64]


class Work(NamedTuple):
    """Memory of one thread."""

    forms: Floats
    center: Floats
    slack: Floats
    mass: Floats
    lower: Floats
    upper: Floats
    heft: Floats
    back: Floats
    point: Floats


def work(rows: Rows) -> Work:
    """Memory for `bound_boxes`."""
    neurons = int(rows.starts[-1])
    basis = rows.inputs + neurons
    return Work(
        np.zeros((basis, basis)), np.zeros(basis), np.zeros(basis), np.zeros(basis),
        np.zeros(neurons), np.zeros(neurons), np.zeros(neurons), np.zeros(basis), np.zeros(basis),
    )  # fmt: skip


@kernel
def backward(rows: Rows, w: Work, top: int) -> tuple[float, float]:
    """Replace neurons before `top` in coefficients ``w.back`` by lines; (constant, error).

    The lower line of an unstable neuron is 0 or z, whichever leaves less area.
    """
    n = rows.inputs
    constant = 0.0
    mass = 0.0
    for j in range(top - 1, -1, -1):
        c = w.back[n + j]
        if c == 0.0:
            continue
        low, high = w.lower[j], w.upper[j]
        if high <= 0.0:
            continue
        if low < 0.0:
            if c > 0.0:
                if high <= -low:
                    continue
            else:
                c *= min(1.0, high / (high - low) * (1.0 + 1e-15))
                constant -= c * low
        constant += c * rows.offset[j]
        mass += abs(c) * w.heft[j]
        for k in range(rows.indptr[j], rows.indptr[j + 1]):
            w.back[rows.indices[k]] += c * rows.values[k]
    return constant, mass


@kernel
def minimum(rows: Rows, w: Work, lower: Floats, upper: Floats, top: int) -> float:
    """Lower bound over the box of ``w.back`` times the basis."""
    constant, mass = backward(rows, w, top)
    value: float = constant
    for i in range(rows.inputs):
        c = w.back[i]
        value += c * (lower[i] if c > 0.0 else upper[i])
        mass += abs(c) * max(abs(lower[i]), abs(upper[i]))
    error = rows.gamma * (mass + abs(constant)) + 1e-300
    proven: float = value - error
    return proven


@kernel
def neuron_bound(
    rows: Rows, w: Work, lower: Floats, upper: Floats, j: int, top: int, sign: float
) -> float:
    """Lower bound of sign z_j by a backward pass from layer start `top`."""
    n = rows.inputs
    w.back[: n + top] = 0.0
    for k in range(rows.indptr[j], rows.indptr[j + 1]):
        w.back[rows.indices[k]] = sign * rows.values[k]
    value: float = minimum(rows, w, lower, upper, top)
    value += sign * rows.offset[j] - rows.gamma * w.heft[j]
    return value


@kernel
def propagate(rows: Rows, error: Floats, lower: Floats, upper: Floats, w: Work) -> int:
    """Bounds of every neuron over the box into ``w.lower``, ``w.upper``; number of terms."""
    n = rows.inputs
    terms = n
    for i in range(n):
        w.forms[i, :n] = 0.0
        w.center[i] = 0.5 * lower[i] + 0.5 * upper[i]
        w.forms[i, i] = max(upper[i] - w.center[i], w.center[i] - lower[i])
        w.slack[i] = 1e-15 * max(abs(lower[i]), abs(upper[i]))
        w.mass[i] = max(abs(lower[i]), abs(upper[i]))
    for layer in range(len(rows.starts) - 1):
        top = rows.starts[layer]
        width = terms
        # Room for one new term per neuron, zero in every form so far.
        w.forms[: n + rows.starts[layer + 1], width : width + rows.starts[layer + 1] - top] = 0.0
        for j in range(top, rows.starts[layer + 1]):
            form = w.forms[n + j]
            form[:width] = 0.0
            center = rows.offset[j]
            slack = error[j]
            mass = abs(center)
            for k in range(rows.indptr[j], rows.indptr[j + 1]):
                t = rows.indices[k]
                value = rows.values[k]
                if w.mass[t] == 0.0:
                    continue
                center += value * w.center[t]
                slack += abs(value) * w.slack[t]
                mass += abs(value) * w.mass[t]
                source = w.forms[t]
                for g in range(width):
                    form[g] += value * source[g]
            radius = 0.0
            for g in range(width):
                radius += abs(form[g])
            slack += rows.gamma * mass
            low = center - radius - slack
            high = center + radius + slack
            w.heft[j] = mass + error[j] / rows.gamma
            if low < 0.0 and high > 0.0 and layer > 0:
                low = max(low, neuron_bound(rows, w, lower, upper, j, top, 1.0))
                if low < 0.0:
                    high = min(high, -neuron_bound(rows, w, lower, upper, j, top, -1.0))
            if high < low:  # only rounding can do that
                low, high = min(low, high), max(low, high)
            w.lower[j] = low
            w.upper[j] = high
            t = n + j
            if high <= 0.0:
                form[:width] = 0.0
                w.center[t] = w.slack[t] = w.mass[t] = 0.0
            elif low >= 0.0:
                w.center[t] = center
                w.slack[t] = slack
                w.mass[t] = abs(center) + radius + slack
            else:
                slope = min(1.0, high / (high - low) * (1.0 + 1e-15))
                half = -0.5 * slope * low
                for g in range(width):
                    form[g] *= slope
                w.center[t] = slope * center + half
                total = slope * (abs(center) + radius + slack) + 2.0 * half
                w.slack[t] = slope * slack + 1e-15 * total
                w.mass[t] = total * (1.0 + 1e-15)
                form[terms] = half
                terms += 1
    return terms


@kernel
def outputs_at(rows: Rows, w: Work) -> None:
    """The network in float64 at the inputs in ``w.point``: neurons into ``w.point``."""
    n = rows.inputs
    for j in range(rows.starts[-1]):
        value = rows.offset[j]
        for k in range(rows.indptr[j], rows.indptr[j + 1]):
            value += rows.values[k] * w.point[rows.indices[k]]
        w.point[n + j] = max(value, 0.0)


@kernel
def violation(rows: Rows, goals: Goals, w: Work) -> float:
    """Least over the polytopes of the largest constraint at ``w.point``; <= 0: unsafe."""
    outputs_at(rows, w)
    least = np.inf
    for p in range(len(goals.first) - 1):
        largest = -np.inf
        for r in range(goals.first[p], goals.first[p + 1]):
            value = goals.offset[r]
            for t in range(len(w.point)):
                value += goals.rows[r, t] * w.point[t]
            largest = max(largest, value)
        least = min(least, largest)
    return least


@kernel
def blame(rows: Rows, w: Work, score: Floats) -> None:
    """Add each input's part in what the relaxation of the last backward pass loses.

    An unstable neuron loses up to its coefficient times the height of its triangle; an input's
    share of that is its share of the neuron's range.
    """
    n = rows.inputs
    for j in range(rows.starts[-1]):
        low, high = w.lower[j], w.upper[j]
        c = w.back[n + j]
        if low >= 0.0 or high <= 0.0 or c == 0.0:
            continue
        loss = c * low * high / (high - low) if c < 0.0 else c * min(high, -low)
        share = loss / high  # forms hold the range scaled by the slope high / (high - low)
        form = w.forms[n + j]
        for i in range(n):
            score[i] += share * abs(form[i])


@kernel
def shrink(
    planes: Floats, values: Floats, low: Floats, high: Floats, lower: Floats, upper: Floats
) -> bool:
    """Shrink a box to where a conjunction of linear bounds can all be <= 0; False: nowhere.

    Bound r is ``planes[r] . x`` plus a constant, and `values[r]` on the box from `low` to `high`
    at least. The bounds, and sums of them with multipliers that look for the greatest minimum (a
    subgradient ascent on the dual), give each input its share of the room. `lower`, `upper` start
    as the box.
    """
    count, n = planes.shape
    multipliers = np.full(count, 1.0 / count)
    total = np.empty(n)
    constants = values.copy()
    scale = np.zeros(count)
    for r in range(count):
        for i in range(n):
            c = planes[r, i]
            constants[r] -= c * (low[i] if c > 0.0 else high[i])
            scale[r] += abs(c) * (high[i] - low[i])
    for number in range(count + (DUAL_STEPS if count > 1 else 0)):
        if number < count:
            total[:] = planes[number]
            constant = constants[number]
            size = abs(constant)
        else:
            total[:] = 0.0
            constant = size = 0.0
            for r in range(count):
                constant += multipliers[r] * constants[r]
                size += multipliers[r] * abs(constants[r])
                for i in range(n):
                    total[i] += multipliers[r] * planes[r, i]
        value = constant
        for i in range(n):
            c = total[i]
            end = lower[i] if c > 0.0 else upper[i]
            value += c * end
            size += abs(c) * max(abs(low[i]), abs(high[i]))
        value -= 1e-14 * (n + count + 16) * size
        if value > 0.0:
            return False
        if number >= count:
            # Multipliers move towards bounds that the minimiser violates least.
            most = 0.0
            for r in range(count):
                at = constants[r]
                for i in range(n):
                    at += planes[r, i] * (lower[i] if total[i] > 0.0 else upper[i])
                multipliers[r] *= np.exp(min(max(2.0 * at / (scale[r] + 1e-300), -5.0), 5.0))
                most += multipliers[r]
            for r in range(count):
                multipliers[r] /= most
        room = -value * (1.0 + 1e-9) + 1e-300
        for i in range(n):
            c = total[i]
            if c > 0.0:
                end = lower[i] + room / c
                end += 1e-15 * abs(end)
                upper[i] = min(upper[i], end)
            elif c < 0.0:
                end = upper[i] + room / c
                end -= 1e-15 * abs(end)
                lower[i] = max(lower[i], end)
            if lower[i] > upper[i]:
                return False
    return True


@kernel
def bound_boxes(
    rows: Rows,
    error: Floats,
    goals: Goals,
    lower: Floats,
    upper: Floats,
    open_: NDArray[np.bool_],
    w: Work,
    bound: Floats,
    dimension: NDArray[np.int64],
    nearest: Floats,
    points: Floats,
) -> None:
    """Bound a batch of boxes, in place.

    Parameters
    ----------
    lower, upper
        (B, inputs); shrunk to what can still hold an unsafe point.
    open_
        (B, polytopes) not yet excluded; what the bounds exclude is cleared.
    bound
        (B,) the smallest proven violation over the polytopes left (<= 0).
    dimension
        (B,) input to split next, -1 where no float lies between its ends.
    nearest, points
        (B,), (B, inputs): a point of the box, and its largest violated constraint in float64.
    """
    n = rows.inputs
    neurons = rows.starts[-1]
    score = np.zeros(n)
    shrunk_lower = np.zeros(n)
    shrunk_upper = np.zeros(n)
    hull_lower = np.zeros(n)
    hull_upper = np.zeros(n)
    corner = np.zeros(n)
    planes = np.zeros((len(goals.offset), n))
    values = np.zeros(len(goals.offset))
    for b in range(len(lower)):
        low, high = lower[b], upper[b]
        propagate(rows, error, low, high, w)
        score[:] = 0.0
        bound[b] = np.inf
        hull_lower[:] = np.inf
        hull_upper[:] = -np.inf
        for p in range(len(goals.first) - 1):
            if not open_[b, p]:
                continue
            first, last = goals.first[p], goals.first[p + 1]
            worst = -np.inf
            for r in range(first, last):
                w.back[:] = goals.rows[r]
                value = minimum(rows, w, low, high, neurons)
                value += goals.offset[r] - goals.error[r]
                if value > 0.0:
                    open_[b, p] = False
                    break
                blame(rows, w, score)
                planes[r] = w.back[:n]
                values[r] = value
                for i in range(n):
                    score[i] += LINEAR * abs(w.back[i]) * (high[i] - low[i])
                if value > worst:
                    worst = value
                    for i in range(n):
                        corner[i] = low[i] if w.back[i] > 0.0 else high[i]
            if not open_[b, p]:
                continue
            shrunk_lower[:] = low
            shrunk_upper[:] = high
            open_[b, p] = shrink(
                planes[first:last], values[first:last], low, high, shrunk_lower, shrunk_upper
            )
            if not open_[b, p]:
                continue
            bound[b] = min(bound[b], worst)
            for i in range(n):
                hull_lower[i] = min(hull_lower[i], shrunk_lower[i])
                hull_upper[i] = max(hull_upper[i], shrunk_upper[i])
        dimension[b] = -1
        if bound[b] == np.inf:
            continue
        w.point[:n] = corner
        nearest[b] = violation(rows, goals, w)
        points[b] = corner
        for i in range(n):
            w.point[i] = 0.5 * hull_lower[i] + 0.5 * hull_upper[i]
        value = violation(rows, goals, w)
        if value < nearest[b]:
            nearest[b] = value
            points[b] = w.point[:n]
        best = -1.0
        for i in range(n):
            low[i] = max(low[i], hull_lower[i])
            high[i] = min(high[i], hull_upper[i])
            middle = 0.5 * low[i] + 0.5 * high[i]
            if low[i] < middle < high[i]:
                share = score[i] + 1e-12 * (high[i] - low[i])
                if share > best:
                    best = share
                    dimension[b] = i
