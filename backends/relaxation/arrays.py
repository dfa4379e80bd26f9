"""The condensed network as the flat arrays that the kernels read."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.condensed import UNIT, Condensed
from graphprune.backends.relaxation.kernels import Goal, Planes, Region, Rows
from graphprune.region import Ball

Floats = NDArray[np.float64]

# By how much a box is rounded outward at 0.
SMALL = 1e-200


def rows_of(condensed: Condensed) -> Rows:
    """All layers' rows under one another; only their bounds are the caller's own."""

    def join(name: str) -> Floats:
        parts = [getattr(layer, name) for layer in condensed.layers]
        return np.concatenate([np.zeros(0), *parts])

    sizes = [len(layer.offset) for layer in condensed.layers]
    number = np.repeat(np.arange(len(sizes)), sizes)
    return Rows(
        condensed.inputs, *condensed.flat, join("offset"), join("error"), join("lower"),
        join("upper"), number.astype(np.int32),
    )  # fmt: skip


def layer_starts(condensed: Condensed) -> NDArray[np.int64]:
    """Index of every layer's first neuron, and the number of neurons."""
    sizes = [len(layer.offset) for layer in condensed.layers]
    return np.cumsum([0, *sizes]).astype(np.int64)


def no_planes(rows: Rows) -> Planes:
    m = len(rows.offset)
    return Planes(np.zeros(m, np.uint8), np.zeros(len(rows.values)), np.zeros(m), np.zeros(m))


def region_of(ball: Ball) -> Region:
    """The ball's box, rounded outward.

    A step from 0 to the next number would be a subnormal one, in every product with which many
    processors take a hundred times as long.
    """
    center = ball.center.reshape(-1)
    lower, upper = ball.lower.reshape(-1), ball.upper.reshape(-1)
    lower = np.minimum(np.nextafter(lower, -np.inf), lower - SMALL)
    upper = np.maximum(np.nextafter(upper, np.inf), upper + SMALL)
    # What one input's product and its sum over all of them can be wrong by.
    extent = np.maximum(np.abs(lower), np.abs(upper))
    return Region(lower, upper, center.copy(), 4.0 * UNIT * (len(lower) + 64) * extent)


def margin_goal(condensed: Condensed, row: Floats) -> Goal:
    """The margin ``row . logits`` as a goal."""
    basis = np.ascontiguousarray(row @ condensed.logits)
    error = float(np.abs(row) @ condensed.error)
    return Goal(basis, float(row @ condensed.offset), error, np.zeros(len(basis)), 0.0, 0.0)


def neuron_goal(rows: Rows, neuron: int, sign: float, margin: Goal | None = None) -> Goal:
    """sign z of a neuron, where an adversarial point of `margin` (<= 0) is asked for if given."""
    size = rows.inputs + len(rows.offset)
    basis = np.zeros(size)
    part = slice(rows.indptr[neuron], rows.indptr[neuron + 1])
    basis[rows.indices[part]] = sign * rows.values[part]
    offset, error = sign * float(rows.offset[neuron]), float(rows.error[neuron])
    if margin is None:
        return Goal(basis, offset, error, np.zeros(size), 0.0, 0.0)
    return Goal(basis, offset, error, margin.row, margin.offset, margin.error)
