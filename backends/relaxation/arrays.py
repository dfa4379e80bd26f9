"""The condensed network as the flat arrays that the kernels read."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.condensed import UNIT, Condensed
from graphprune.backends.relaxation.kernels import (
    CondensedRows,
    CuttingPlanes,
    LinearRow,
    NetworkRelaxation,
    NormBall,
    Parameters,
    RegionBox,
    Specification,
)
from graphprune.errors import UnsupportedError
from graphprune.region import Norm, Region

Floats = NDArray[np.float64]

# By how much a box is rounded outward at 0; where its sides are squared, by no less than that.
SMALL, SQUARED = 1e-200, 1e-140


def rows_of(condensed: Condensed) -> CondensedRows:
    """Return all layers' rows under one another; their bounds are the caller's own."""

    def join(name: str) -> Floats:
        parts = [getattr(layer, name) for layer in condensed.layers]
        return np.concatenate([np.zeros(0), *parts])

    sizes = [len(layer.offset) for layer in condensed.layers]
    number = np.repeat(np.arange(len(sizes)), sizes)
    return CondensedRows(
        condensed.inputs, *condensed.flat, join("offset"), join("error"), join("lower"),
        join("upper"), number.astype(np.int32), np.cumsum([0, *sizes]).astype(np.int64),
    )  # fmt: skip


def no_planes(rows: CondensedRows) -> CuttingPlanes:
    """Return the planes of neurons that have none."""
    m = len(rows.offset)
    return CuttingPlanes(
        np.zeros(m, np.uint8), np.zeros(len(rows.values)), np.zeros(m), np.zeros(m)
    )


def box_of(ball: Region) -> RegionBox:
    """Return the ball's box, rounded outward.

    A step from 0 to the next number would be a subnormal one, in every product with which many
    processors take a hundred times as long.
    """
    center = ball.center.reshape(-1)
    lower, upper = ball.lower.reshape(-1), ball.upper.reshape(-1)
    small = SMALL if ball.norm.separable else SQUARED
    lower = np.minimum(np.nextafter(lower, -np.inf), lower - small)
    upper = np.maximum(np.nextafter(upper, np.inf), upper + small)
    # One input's product and its sum over all of them can be wrong by so much.
    extent = np.maximum(np.abs(lower), np.abs(upper))
    error = 4.0 * UNIT * (len(lower) + 64) * extent
    return RegionBox(lower, upper, center.copy(), error, norm_ball(ball.norm, ball.radius))


def norm_ball(norm: Norm, radius: float) -> NormBall | None:
    """Return the ball that the kernels are to know beside the box; None where it is the box.

    Raises
    ------
    UnsupportedError
        The norm has no compiled form.
    """
    if norm.separable:
        return None
    if norm.kernel is None:
        raise UnsupportedError(f"the norm {norm} has no compiled form: no search knows it")
    return NormBall(float(radius), norm.kernel)


def within(box: RegionBox, radius: float) -> RegionBox:
    """Return a box with its ball no larger than a radius."""
    if box.ball is None or box.ball.radius <= radius:
        return box
    return box._replace(ball=box.ball._replace(radius=float(radius)))


def intersected(box: RegionBox, other: RegionBox) -> RegionBox:
    """Return the part of a box that lies in another one with the same centre and norm."""
    both = box._replace(
        lower=np.maximum(box.lower, other.lower), upper=np.minimum(box.upper, other.upper)
    )
    return both if other.ball is None else within(both, other.ball.radius)


def output_row(condensed: Condensed, row: Floats, limit: float | None = None) -> LinearRow:
    """Return ``row . logits``, less a limit if one is given, as a row over the basis."""
    offset = float(row @ condensed.offset)
    error = float(np.abs(row) @ condensed.error)
    if limit is not None:
        error += 4.0 * UNIT * (abs(offset) + abs(limit))
        offset -= limit
    return LinearRow(np.ascontiguousarray(row @ condensed.logits), offset, error)


def neuron_row(rows: CondensedRows, neuron: int, sign: float) -> LinearRow:
    """Return ``sign z`` of a neuron as a row over the basis."""
    basis = np.zeros(rows.inputs + len(rows.offset))
    part = slice(rows.indptr[neuron], rows.indptr[neuron + 1])
    basis[rows.indices[part]] = sign * rows.values[part]
    return LinearRow(basis, sign * float(rows.offset[neuron]), float(rows.error[neuron]))


def nothing_assumed(goal: LinearRow) -> Specification:
    """Return the specification of a row that is to be bounded on the whole region."""
    return Specification(goal, LinearRow(np.zeros(len(goal.row)), 0.0, 0.0))


def first_parameters(rows: CondensedRows) -> Parameters:
    """Return parameters to start from: nothing is split, lower lines leave the least area."""
    m = len(rows.offset)
    slopes = (rows.upper > -rows.lower).astype(np.float64)
    return Parameters(np.zeros(m, np.int8), slopes, np.zeros(m))


def copied(parameters: Parameters) -> Parameters:
    """Return parameters that can be changed without changing these."""
    phases, slopes, weights = parameters
    return Parameters(phases.copy(), slopes.copy(), weights.copy())


def with_own_bounds(relaxation: NetworkRelaxation) -> NetworkRelaxation:
    """Return a relaxation whose bounds and box can be tightened without changing this one's."""
    rows, planes, box = relaxation
    return NetworkRelaxation(
        rows._replace(lower=rows.lower.copy(), upper=rows.upper.copy()), planes,
        box._replace(lower=box.lower.copy(), upper=box.upper.copy()),
    )  # fmt: skip
