"""One backward pass over the condensed network: a linear bound, its minimum and its root."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels.types import Floats, Goal, Planes, Region, Rows
from graphprune.runtime.jit import kernel

# Half the distance from 1 to the next number.
UNIT = 2.0**-53


@kernel
def backward(
    rows: Rows,
    planes: Planes,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    a: Floats,
    lam: Floats,
    pi: Floats,
) -> tuple[float, float]:
    """Push coefficients `a` over the basis down to the inputs, in place; (constant, error)."""
    n = rows.inputs
    constant = 0.0
    error = 0.0
    for j in range(len(rows.offset) - 1, -1, -1):
        c = a[n + j]
        s = state[j]
        p = 0.0
        if s == 0:
            if c > 0.0:
                m = c * theta[j]
            elif c < 0.0:
                w = mix[j] if planes.has[j] else 0.0
                low = rows.lower[j]
                m = c * (1.0 - w) * (rows.upper[j] / (rows.upper[j] - low))
                constant -= m * low
                p = c * w
            else:
                m = 0.0
        elif s == 1:
            m = c - theta[j]
        else:
            m = theta[j]
        lam[j] = m
        pi[j] = p
        first, last = rows.indptr[j], rows.indptr[j + 1]
        if p != 0.0:
            constant += p * planes.offset[j] + m * rows.offset[j]
            error += abs(p) * planes.error[j] + abs(m) * rows.error[j]
            for k in range(first, last):
                a[rows.indices[k]] += m * rows.values[k] + p * planes.values[k]
        elif m != 0.0:
            constant += m * rows.offset[j]
            error += abs(m) * rows.error[j]
            for k in range(first, last):
                a[rows.indices[k]] += m * rows.values[k]
    return constant, error


@kernel
def concretise(a: Floats, region: Region, v: Floats) -> tuple[float, float]:
    """The minimum over the box of the inputs' part, its minimiser into `v`; (value, error)."""
    value = 0.0
    error = 0.0
    for i in range(len(region.lower)):
        c = a[i]
        x = region.lower[i] if c > 0.0 else region.upper[i]
        v[i] = x
        value += c * x
        error += abs(c) * region.error[i]
    return value, error


@kernel
def root(a: Floats, region: Region, constant: float, start: float) -> float:
    """The radius at which the linear bound a . x + constant reaches 0, from below.

    As a function of the radius the minimum over the box is convex, piecewise linear and falls, so
    Newton's steps from a radius where it is positive never pass the root.
    """
    radius = start
    shorter = 1.0 - 1e-12 - 4.0 * UNIT * len(region.lower)
    for _ in range(50):
        value = constant
        slope = 0.0
        for i in range(len(region.lower)):
            c = a[i]
            if c > 0.0:
                room = region.center[i] - region.lower[i]
            else:
                room = region.upper[i] - region.center[i]
            value += c * region.center[i] - abs(c) * min(room, radius)
            if room > radius:
                slope += abs(c)
        if value <= 0.0 or slope == 0.0:
            break
        step = value / slope
        radius += step * shorter
        if step <= 1e-9 * radius:
            break
    return radius


@kernel
def forward(
    rows: Rows,
    planes: Planes,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    a: Floats,
    v: Floats,
    z: Floats,
    up: Floats,
) -> None:
    """Values of pre-activations `z`, planes `up` and chosen lines `v` at the minimiser in `v`."""
    n = rows.inputs
    for j in range(len(rows.offset)):
        c = a[n + j]
        s = state[j]
        value = rows.offset[j]
        first, last = rows.indptr[j], rows.indptr[j + 1]
        plane = 0.0
        if s == 0 and planes.has[j] and c < 0.0:
            plane = planes.offset[j]
            for k in range(first, last):
                x = v[rows.indices[k]]
                value += rows.values[k] * x
                plane += planes.values[k] * x
        else:
            for k in range(first, last):
                value += rows.values[k] * v[rows.indices[k]]
        z[j] = value
        up[j] = plane
        if s == 1:
            h = value
        elif s == -1:
            h = 0.0
        elif c >= 0.0:
            h = theta[j] * value
        else:
            low = rows.lower[j]
            h = rows.upper[j] / (rows.upper[j] - low) * (value - low)
            if planes.has[j]:
                h += mix[j] * (plane - h)
        v[n + j] = h


@kernel
def evaluate(rows: Rows, v: Floats) -> None:
    """The network itself at the inputs in `v` (valid on its ball): hidden values into `v`."""
    n = rows.inputs
    for j in range(len(rows.offset)):
        value = rows.offset[j]
        for k in range(rows.indptr[j], rows.indptr[j + 1]):
            value += rows.values[k] * v[rows.indices[k]]
        v[n + j] = max(value, 0.0)


@kernel
def dot(row: Floats, v: Floats) -> float:
    total = 0.0
    for i in range(len(v)):
        total += row[i] * v[i]
    return total


@kernel
def bound_once(
    rows: Rows,
    planes: Planes,
    region: Region,
    goal: Goal,
    gamma: float,
    state: NDArray[np.int8],
    theta: Floats,
    mix: Floats,
    a: Floats,
    v: Floats,
    lam: Floats,
    pi: Floats,
) -> tuple[float, float]:
    """(lower bound, constant of the linear bound), both with the rounding margin taken off."""
    if gamma != 0.0:
        for i in range(len(a)):
            a[i] = goal.row[i] + gamma * goal.cut[i]
    else:
        a[:] = goal.row
    constant, error = backward(rows, planes, state, theta, mix, a, lam, pi)
    value, more = concretise(a, region, v)
    constant += goal.offset + gamma * goal.cut_offset
    error += goal.error + gamma * goal.cut_error + more
    error += 1e-13 * (abs(constant) + abs(value))
    return constant + value - error, constant - error
