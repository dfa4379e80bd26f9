"""Bounds over many small boxes in compiled float64 code: the inner loop of input splitting.

Per box, layer by layer: a zonotope (Singh et al. 2018) carries every neuron as an affine form of
the box and of one error term per unstable neuron; neurons it leaves unstable get CROWN bounds
(Zhang et al. 2018) by a backward pass, which sharpen the zonotope above. The constraints of the
unsafe set then get CROWN bounds; what these say of the inputs shrinks the box.

Rounding: every sum of products is off by at most gamma times the sum of its absolute terms
(Higham 2002, section 3.1), which is carried along as `magnitude`, and added outward; see
:class:`~graphprune.backends.verify.network_rows.NetworkRows`. A row's `error` is what
materialising it lost.

The functions are compiled by Numba at their first call and kept on disk; keep them in this one
file, whose date decides whether the kept code is still good.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify.network_rows import NetworkRows
from graphprune.runtime.jit import kernel, kernel_part
from graphprune.runtime.loops import copy

Floats = NDArray[np.float64]

# Weight of an input's linear part against its part in the relaxation's loss, when splitting.
LINEAR = 0.25
# Steps of the ascent on a conjunction's multipliers.
DUAL_STEPS = 20


class LinearSpecifications(NamedTuple):
    """Constraints of the unsafe set as rows over the basis: row . v + offset <= 0.

    Attributes
    ----------
    rows
        (K, basis).
    offset, error
        (K,); `error` includes what materialising the row lost on the region's box.
    first
        Polytope p is the conjunction of specifications ``first[p]:first[p + 1]``.
    """

    rows: Floats
    offset: Floats
    error: Floats
    first: NDArray[np.int64]


class BoxBatch(NamedTuple):
    """A batch of B boxes, bounded in place.

    Attributes
    ----------
    lower, upper
        (B, inputs); shrunk to the part that can still hold an unsafe point.
    undecided
        (B, polytopes) not yet excluded; cleared where the bounds exclude one.
    bound
        (B,) the smallest proven violation over the polytopes left (<= 0); inf: none is left.
    dimension
        (B,) input to split next, -1 where no float lies between its ends.
    nearest, points
        (B,), (B, inputs): a point of the box, and its largest violated constraint in float64.
    """

    lower: Floats
    upper: Floats
    undecided: NDArray[np.bool_]
    bound: Floats
    dimension: NDArray[np.int64]
    nearest: Floats
    points: Floats


class BoxWorkspace(NamedTuple):
    """Memory of one thread, reused from box to box.

    Attributes
    ----------
    forms, center, slack, magnitude
        The zonotope: every element of the basis as an affine form of the error terms, its
        constant, its error, and the largest absolute value.
    lower, upper, row_magnitude
        Bounds of the pre-activations, and magnitudes of their rows.
    coefficients, point
        A backward pass's coefficients; a point of the basis.
    score, corner
        (inputs,) parts of the inputs in what the relaxation loses; a box's corner.
    shrunk, hull
        (2, inputs) ends of a polytope's box, and of the hull of all polytopes'.
    planes, values
        Linear bounds of the constraints, and their minima.
    """

    forms: Floats
    center: Floats
    slack: Floats
    magnitude: Floats
    lower: Floats
    upper: Floats
    row_magnitude: Floats
    coefficients: Floats
    point: Floats
    score: Floats
    corner: Floats
    shrunk: Floats
    hull: Floats
    planes: Floats
    values: Floats


def box_workspace(rows: NetworkRows, specifications: LinearSpecifications) -> BoxWorkspace:
    """Memory for `bound_boxes`."""
    n, neurons, count = rows.inputs, int(rows.starts[-1]), len(specifications.offset)
    basis = n + neurons
    return BoxWorkspace(
        np.zeros((basis, basis)), np.zeros(basis), np.zeros(basis), np.zeros(basis),
        np.zeros(neurons), np.zeros(neurons), np.zeros(neurons), np.zeros(basis), np.zeros(basis),
        np.zeros(n), np.zeros(n), np.zeros((2, n)), np.zeros((2, n)), np.zeros((count, n)),
        np.zeros(count),
    )  # fmt: skip


def box_batch(lower: Floats, upper: Floats, undecided: NDArray[np.bool_]) -> BoxBatch:
    """Boxes (B, inputs) that are about to be bounded."""
    count = len(lower)
    return BoxBatch(
        lower, upper, undecided, np.empty(count), np.empty(count, np.int64),
        np.full(count, np.inf), np.empty_like(lower),
    )  # fmt: skip


@kernel_part
def backward(rows: NetworkRows, w: BoxWorkspace, top: int) -> tuple[float, float]:
    """Replace neurons before `top` in ``w.coefficients`` by lines; (constant, magnitude).

    The lower line of an unstable neuron is 0 or z, whichever leaves less area.
    """
    n = rows.inputs
    constant = 0.0
    magnitude = 0.0
    for j in range(top - 1, -1, -1):
        c = w.coefficients[n + j]
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
        magnitude += abs(c) * w.row_magnitude[j]
        for k in range(rows.indptr[j], rows.indptr[j + 1]):
            w.coefficients[rows.indices[k]] += c * rows.values[k]
    return constant, magnitude


@kernel_part
def minimum(rows: NetworkRows, w: BoxWorkspace, lower: Floats, upper: Floats, top: int) -> float:
    """Lower bound over the box of ``w.coefficients`` times the basis."""
    constant, magnitude = backward(rows, w, top)
    value: float = constant
    for i in range(rows.inputs):
        c = w.coefficients[i]
        value += c * (lower[i] if c > 0.0 else upper[i])
        magnitude += abs(c) * max(abs(lower[i]), abs(upper[i]))
    error = rows.gamma * (magnitude + abs(constant)) + 1e-300
    proven: float = value - error
    return proven


@kernel_part
def neuron_bound(
    rows: NetworkRows, w: BoxWorkspace, lower: Floats, upper: Floats, j: int, top: int, sign: float,
) -> float:  # fmt: skip
    """Lower bound of sign z_j by a backward pass from layer start `top`."""
    n = rows.inputs
    w.coefficients[: n + top] = 0.0
    for k in range(rows.indptr[j], rows.indptr[j + 1]):
        w.coefficients[rows.indices[k]] = sign * rows.values[k]
    value: float = minimum(rows, w, lower, upper, top)
    value += sign * rows.offset[j] - rows.gamma * w.row_magnitude[j]
    return value


@kernel_part
def propagate(
    rows: NetworkRows, error: Floats, lower: Floats, upper: Floats, w: BoxWorkspace
) -> int:
    """Bounds of every neuron over the box into ``w.lower``, ``w.upper``; number of terms."""
    n = rows.inputs
    terms = n
    for i in range(n):
        w.forms[i, :n] = 0.0
        w.center[i] = 0.5 * lower[i] + 0.5 * upper[i]
        w.forms[i, i] = max(upper[i] - w.center[i], w.center[i] - lower[i])
        w.slack[i] = 1e-15 * max(abs(lower[i]), abs(upper[i]))
        w.magnitude[i] = max(abs(lower[i]), abs(upper[i]))
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
            magnitude = abs(center)
            for k in range(rows.indptr[j], rows.indptr[j + 1]):
                t = rows.indices[k]
                value = rows.values[k]
                if w.magnitude[t] == 0.0:
                    continue
                center += value * w.center[t]
                slack += abs(value) * w.slack[t]
                magnitude += abs(value) * w.magnitude[t]
                source = w.forms[t]
                for g in range(width):
                    form[g] += value * source[g]
            radius = 0.0
            for g in range(width):
                radius += abs(form[g])
            slack += rows.gamma * magnitude
            low = center - radius - slack
            high = center + radius + slack
            w.row_magnitude[j] = magnitude + error[j] / rows.gamma
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
                w.center[t] = w.slack[t] = w.magnitude[t] = 0.0
            elif low >= 0.0:
                w.center[t] = center
                w.slack[t] = slack
                w.magnitude[t] = abs(center) + radius + slack
            else:
                slope = min(1.0, high / (high - low) * (1.0 + 1e-15))
                half = -0.5 * slope * low
                for g in range(width):
                    form[g] *= slope
                w.center[t] = slope * center + half
                total = slope * (abs(center) + radius + slack) + 2.0 * half
                w.slack[t] = slope * slack + 1e-15 * total
                w.magnitude[t] = total * (1.0 + 1e-15)
                form[terms] = half
                terms += 1
    return terms


@kernel_part
def outputs_at(rows: NetworkRows, w: BoxWorkspace) -> None:
    """The network in float64 at the inputs in ``w.point``: neurons into ``w.point``."""
    n = rows.inputs
    for j in range(rows.starts[-1]):
        value = rows.offset[j]
        for k in range(rows.indptr[j], rows.indptr[j + 1]):
            value += rows.values[k] * w.point[rows.indices[k]]
        w.point[n + j] = max(value, 0.0)


@kernel_part
def violation(rows: NetworkRows, specifications: LinearSpecifications, w: BoxWorkspace) -> float:
    """Least over the polytopes of the largest constraint at ``w.point``; <= 0: unsafe."""
    outputs_at(rows, w)
    least = np.inf
    for p in range(len(specifications.first) - 1):
        largest = -np.inf
        for r in range(specifications.first[p], specifications.first[p + 1]):
            value = specifications.offset[r]
            for t in range(len(w.point)):
                value += specifications.rows[r, t] * w.point[t]
            largest = max(largest, value)
        least = min(least, largest)
    return least


@kernel_part
def attribute_loss(rows: NetworkRows, w: BoxWorkspace) -> None:
    """Add to the score each input's part in the loss of the last backward pass's relaxation.

    An unstable neuron loses up to its coefficient times the height of its triangle; an input's
    share of that is its share of the neuron's range.
    """
    n = rows.inputs
    for j in range(rows.starts[-1]):
        low, high = w.lower[j], w.upper[j]
        c = w.coefficients[n + j]
        if low >= 0.0 or high <= 0.0 or c == 0.0:
            continue
        loss = c * low * high / (high - low) if c < 0.0 else c * min(high, -low)
        share = loss / high  # forms hold the range scaled by the slope high / (high - low)
        form = w.forms[n + j]
        for i in range(n):
            w.score[i] += share * abs(form[i])


@kernel_part
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
            copy(planes[number], total)
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


@kernel_part
def bound_polytope(
    specifications: LinearSpecifications,
    p: int,
    rows: NetworkRows,
    low: Floats,
    high: Floats,
    w: BoxWorkspace,
) -> float:
    """Bound the constraints of a polytope on a box; +inf: one of them excludes it.

    The linear bounds go into ``w.planes``, the minimiser of the greatest one into ``w.corner``.
    """
    n = rows.inputs
    worst = -np.inf
    for r in range(specifications.first[p], specifications.first[p + 1]):
        copy(specifications.rows[r], w.coefficients)
        value = minimum(rows, w, low, high, rows.starts[-1])
        value += specifications.offset[r] - specifications.error[r]
        if value > 0.0:
            return np.inf
        attribute_loss(rows, w)
        copy(w.coefficients, w.planes[r])
        w.values[r] = value
        for i in range(n):
            w.score[i] += LINEAR * abs(w.coefficients[i]) * (high[i] - low[i])
        if value > worst:
            worst = value
            for i in range(n):
                w.corner[i] = low[i] if w.coefficients[i] > 0.0 else high[i]
    return worst


@kernel_part
def nearest_point(
    rows: NetworkRows,
    specifications: LinearSpecifications,
    boxes: BoxBatch,
    b: int,
    w: BoxWorkspace,
) -> None:
    """Evaluate the network at the relaxation's corner and the hull's centre; the better stays."""
    n = rows.inputs
    copy(w.corner, w.point[:n])
    boxes.nearest[b] = violation(rows, specifications, w)
    copy(w.corner, boxes.points[b])
    for i in range(n):
        w.point[i] = 0.5 * w.hull[0, i] + 0.5 * w.hull[1, i]
    value = violation(rows, specifications, w)
    if value < boxes.nearest[b]:
        boxes.nearest[b] = value
        copy(w.point, boxes.points[b])


@kernel_part
def choose_dimension(boxes: BoxBatch, b: int, w: BoxWorkspace) -> None:
    """Cut a box to the hull of what its polytopes leave, and choose the input to split."""
    low, high = boxes.lower[b], boxes.upper[b]
    best = -1.0
    for i in range(len(low)):
        low[i] = max(low[i], w.hull[0, i])
        high[i] = min(high[i], w.hull[1, i])
        middle = 0.5 * low[i] + 0.5 * high[i]
        if low[i] < middle < high[i]:
            share = w.score[i] + 1e-12 * (high[i] - low[i])
            if share > best:
                best = share
                boxes.dimension[b] = i


@kernel
def bound_boxes(
    rows: NetworkRows,
    error: Floats,
    specifications: LinearSpecifications,
    boxes: BoxBatch,
    w: BoxWorkspace,
) -> None:
    """Bound a batch of boxes, in place; `error`: of every neuron's row, (neurons,)."""
    n = rows.inputs
    shrunk_lower, shrunk_upper = w.shrunk[0], w.shrunk[1]
    for b in range(len(boxes.lower)):
        low, high = boxes.lower[b], boxes.upper[b]
        propagate(rows, error, low, high, w)
        w.score[:] = 0.0
        boxes.bound[b] = np.inf
        w.hull[0] = np.inf
        w.hull[1] = -np.inf
        for p in range(len(specifications.first) - 1):
            if not boxes.undecided[b, p]:
                continue
            worst = bound_polytope(specifications, p, rows, low, high, w)
            if worst == np.inf:
                boxes.undecided[b, p] = False
                continue
            first, last = specifications.first[p], specifications.first[p + 1]
            copy(low, shrunk_lower)
            copy(high, shrunk_upper)
            boxes.undecided[b, p] = shrink(
                w.planes[first:last], w.values[first:last], low, high, shrunk_lower, shrunk_upper
            )
            if not boxes.undecided[b, p]:
                continue
            boxes.bound[b] = min(boxes.bound[b], worst)
            for i in range(n):
                w.hull[0, i] = min(w.hull[0, i], shrunk_lower[i])
                w.hull[1, i] = max(w.hull[1, i], shrunk_upper[i])
        boxes.dimension[b] = -1
        if boxes.bound[b] == np.inf:
            continue
        nearest_point(rows, specifications, boxes, b, w)
        choose_dimension(boxes, b, w)
