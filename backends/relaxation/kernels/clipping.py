"""Bounds of neurons under a row's own linear bound: complete clipping (Zhou et al. 2025).

Points with a row <= 0 satisfy a . x + constant <= 0, where the left side is the row's linear bound
over the inputs. A neuron's linear bound c . x + d holds where it was computed; on these points it
is at least, for any g >= 0, the minimum over the box of (c + g a) . x + d + g constant. The best g
is the dual of a linear program with one constraint: the minimum is concave in g, and its slope is
the constraint's value at the minimiser.

The neurons' linear bounds are computed once, at a root. A node has another a and constant, so that
a bound there takes a few sums over the inputs, a hundredth of an ascent (`tighten_neurons`). Where
a row is 0 outside a range of inputs, sums over the rest are the same for all neurons.
"""

from typing import NamedTuple

import numpy as np

from graphprune.backends.relaxation.kernels.backward import dot, linear_bound
from graphprune.backends.relaxation.kernels.rows import add_row
from graphprune.backends.relaxation.kernels.tightening import cut_in
from graphprune.backends.relaxation.kernels.types import (
    TINY,
    Floats,
    InputRows,
    LinearRow,
    NetworkRelaxation,
    Parameters,
    RegionBox,
    Specification,
    Workspace,
)
from graphprune.runtime.jit import fast_part, kernel, kernel_part

# Multipliers that are looked at for one bound, and the largest one.
LOOKS, FAR = 3, 1e9
# By which share of a neuron's width a bound must be higher, and which share of what a bound lacks a
# neuron's line must cost.
GAIN, LIGHT = 0.01, 0.003


@fast_part
def dual_at(
    c: Floats, a: Floats, multiplier: float, lower: Floats, upper: Floats
) -> tuple[float, float]:
    """Return the least value of (c + multiplier a) . x over some inputs, and a . x there.

    It is only a guide: no error is counted.
    """
    value, constraint = 0.0, 0.0
    for i in range(len(c)):
        own, low, high = c[i] + multiplier * a[i], lower[i], upper[i]
        x = low if own > 0.0 else high
        value += own * x
        constraint += a[i] * x
    return value, constraint


@kernel_part
def least_at(
    c: Floats, a: Floats, multiplier: float, lower: Floats, upper: Floats, terms: Floats
) -> float:
    """Return the same least value, each product and the sum rounded."""
    for i in range(len(c)):
        own = c[i] + multiplier * a[i]
        terms[i] = min(own * lower[i], own * upper[i])
    # Sums that do not wait for each other.
    s0 = s1 = s2 = s3 = 0.0
    whole = len(c) // 4 * 4
    for i in range(0, whole, 4):
        s0 += terms[i]
        s1 += terms[i + 1]
        s2 += terms[i + 2]
        s3 += terms[i + 3]
    for i in range(whole, len(c)):
        s0 += terms[i]
    return (s0 + s1) + (s2 + s3)


@kernel
def input_rows(
    relaxation: NetworkRelaxation, parameters: Parameters, rows: InputRows, workspace: Workspace
) -> None:
    """Set the linear bounds of some neurons over the inputs, in place."""
    own = relaxation.rows
    n = own.inputs
    nothing = LinearRow(np.zeros(len(workspace.point)), 0.0, 0.0)
    for q in range(len(rows.offset)):
        j, sign = rows.neurons[q // 2], 1.0 - 2.0 * (q % 2)
        row = np.zeros(len(workspace.point))
        add_row(own, j, sign, row)
        goal = LinearRow(row, sign * own.offset[j], own.error[j])
        _, rows.offset[q] = linear_bound(
            relaxation, Specification(goal, nothing), 0.0, parameters, workspace
        )
        first, last = n, 0
        for i in range(n):
            value = workspace.coefficients[i]
            rows.values[q, i] = value
            rows.error[q] += abs(value) * relaxation.box.error[i]
            if value != 0.0:
                first, last = min(first, i), i + 1
        rows.first[q], rows.last[q] = min(first, last), last


class InputConstraint(NamedTuple):
    """A row's linear bound over the inputs, at most 0 at the points of interest.

    Attributes
    ----------
    row, constant
        The bound.
    least
        (inputs + 1,) the row's least value over the inputs before each one.
    point
        Where the least value is taken.
    error
        The largest error of differences of `least`.
    """

    row: Floats
    constant: float
    least: Floats
    point: Floats
    error: float


@kernel_part
def constraint_over(row: Floats, constant: float, box: RegionBox) -> InputConstraint:
    """Return a linear bound with its least value over a box."""
    n = len(box.lower)
    least, point, error = np.zeros(n + 1), np.empty(n), 0.0
    for i in range(n):
        point[i] = box.lower[i] if row[i] > 0.0 else box.upper[i]
        least[i + 1] = least[i] + row[i] * point[i]
        error += abs(row[i]) * box.error[i]
    return InputConstraint(row, constant, least, point, error)


@kernel_part
def clipped_bound(
    rows: InputRows,
    q: int,
    constraint: InputConstraint,
    needed: float,
    box: RegionBox,
    terms: Floats,
) -> float:
    """Bound row q under a constraint; -inf where the bound seems to be no higher than needed."""
    a, constant, least, point, error = constraint
    n = len(point)
    # Slices of one length: loops over them become vector instructions.
    first, last = rows.first[q], rows.last[q]
    c, part = rows.values[q, first:last], a[first:last]
    lower, upper = box.lower[first:last], box.upper[first:last]
    outside = constant + least[first] + (least[n] - least[last])
    needed -= rows.offset[q]
    # Tangents of the dual at multipliers on both sides of the best one, at 0 and infinity first; it
    # is nowhere above where they meet.
    left, slope = dual_at(c, part, 0.0, lower, upper)
    slope += outside
    right, other = dot(c, point[first:last]), constant + least[n]
    best, multiplier = left, 0.0
    for _ in range(LOOKS):
        at = (left - right) / (other - slope)
        if not (at > 0.0 and at < FAR and left + slope * at > max(needed, best)):
            break
        found, turn = dual_at(c, part, at, lower, upper)
        found, turn = found + at * outside, turn + outside
        if found > best:
            best, multiplier = found, at
        if turn > 0.0:
            left, slope = found - turn * at, turn
        else:
            right, other = found - turn * at, turn
    if not best > needed:
        return -np.inf
    value = least_at(c, part, multiplier, lower, upper, terms)
    wrong = rows.error[q] + multiplier * error
    wrong += 1e-13 * (
        multiplier * (abs(constant) + abs(least[first]) + abs(least[n]) + abs(least[last]))
        + abs(rows.offset[q]) + abs(value)
    )  # fmt: skip
    bound: float = value + multiplier * outside + rows.offset[q] - wrong
    return bound


@kernel
def clip_neurons(
    relaxation: NetworkRelaxation,
    margin: LinearRow,
    rows: InputRows,
    parameters: Parameters,
    workspace: Workspace,
) -> bool:
    """Clip the box and the bounds of neurons, in place; False: no point has margin <= 0.

    The bounds hold for the points with margin <= 0 and these parameters' phases only; those that
    pass 0 stop there.
    """
    own, _, box = relaxation
    n = own.inputs
    nothing = LinearRow(np.zeros(len(workspace.point)), 0.0, 0.0)
    value, constant = linear_bound(
        relaxation, Specification(margin, nothing), 0.0, parameters, workspace
    )
    if value > 0.0:
        return False
    a = workspace.coefficients
    cut_in(a, constant, box, box.ball, box.lower, box.upper)
    constraint = constraint_over(a, constant, box)
    terms = np.empty(n)
    for q in range(len(rows.offset)):
        j = rows.neurons[q // 2]
        low, high = own.lower[j], own.upper[j]
        if parameters.phases[j] != 0 or low >= -TINY or high <= TINY:
            continue
        width = high - low
        if abs(a[n + j]) * -low * high < LIGHT * width * -value:
            continue
        needed = (low if q % 2 == 0 else -high) + GAIN * width
        bound = clipped_bound(rows, q, constraint, needed, box, terms)
        if q % 2 == 0:
            if bound > high:
                return False
            own.lower[j] = max(low, min(bound, -TINY))
        else:
            if -bound < low:
                return False
            own.upper[j] = min(high, max(-bound, TINY))
    return True
