"""CROWN bounds over whole boxes, which exclude polytopes without a search."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.boxes.halving import bounds_where_there_are_any
from graphprune.backends.verify.network_rows import UNIT
from graphprune.backends.verify.query import VerificationQuery
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import (
    Ascent,
    Boxes,
    LayerBounds,
    Method,
    linear_bounds,
    optimised_bounds,
    pre_activation_bounds,
)
from graphprune.errors import GraphpruneError
from graphprune.ir import Network
from graphprune.runtime.resources import current

Floats = NDArray[np.float64]

# Steps of alpha-CROWN: few rows, each the last chance before a search.
STEPS = 40


def close_at_root(
    query: VerificationQuery,
) -> tuple[VerificationQuery, list[LayerBounds] | None]:
    """The query without the polytopes that CROWN bounds over the whole box exclude.

    With the bounds of all layers of a network of ReLUs.
    """
    network, boxes = query.network, boxes_of(query)
    if query.polytopes == 0:
        return query, None
    if not network.piecewise_linear:
        return query.only(np.flatnonzero(~excluded(query, boxes)[0]).tolist()), None
    layers = pre_activation_bounds(network, boxes, until=query.deadline, forms="beside")
    found = excluded_by(query, row_bounds(network, boxes, query.weights, layers))
    return query.only(np.flatnonzero(~found[0]).tolist()), layers


def close_by_optimising(
    query: VerificationQuery,
) -> tuple[VerificationQuery, list[LayerBounds] | None]:
    """The query without the polytopes that alpha-CROWN excludes, and the bounds of all layers.

    Constraints come first, every neuron's bounds where that is not enough. None: these overflow,
    or reach beyond where a function is defined.
    """
    boxes = boxes_of(query)
    try:
        layers = pre_activation_bounds(query.network, boxes, until=query.deadline)
    except GraphpruneError:  # parts of the box may have bounds
        return query, None
    for tighter in (False, True):
        if query.polytopes == 0 or not query.in_time:
            break
        if tighter:
            layers = optimised_bounds(query.network, boxes, layers)
        bounds = row_bounds(query.network, boxes, query.weights, layers, "alpha-crown")
        found = excluded_by(query, bounds)
        query = query.only(np.flatnonzero(~found[0]).tolist())
    return query, layers


def excluded(query: VerificationQuery, boxes: Boxes) -> NDArray[np.bool_]:
    """(B, polytopes) of which a constraint is proven false over a box, by CROWN.

    Raises
    ------
    GraphpruneError
        The bounds of a network of ReLUs overflow. With other functions those of smaller boxes may
        not, and nothing is excluded.
    """

    def bounds(part: Boxes) -> Floats:
        return row_bounds(query.network, part, query.weights)

    if query.network.piecewise_linear:
        return excluded_by(query, bounds(boxes))
    return excluded_by(query, bounds_where_there_are_any(bounds, boxes, len(query.weights)))


def excluded_by(query: VerificationQuery, bounds: Floats) -> NDArray[np.bool_]:
    """The polytopes of which one of the rows has a bound (B, K) beyond its limit."""
    beyond = bounds > query.limits + 4 * UNIT * np.abs(query.limits)
    polytope = np.repeat(np.arange(query.polytopes), np.diff(query.first))
    found = np.zeros((len(beyond), query.polytopes), np.bool_)
    for p in range(query.polytopes):
        found[:, p] = beyond[:, polytope == p].any(axis=1)
    return found


def row_bounds(
    network: Network,
    boxes: Boxes,
    weights: Floats,
    known: Sequence[LayerBounds] | None = None,
    method: Method = "crown",
) -> Floats:
    """Lower bounds (B, K) of rows (K, outputs) times the outputs, on the layers' if known.

    Raises
    ------
    OutOfTimeError
        Time was over before the layers had bounds.
    """
    until = current().deadline
    layers = pre_activation_bounds(network, boxes, until=until) if known is None else known
    rows = weights.astype(np.float32)
    bounds = linear_bounds(network, boxes, layers, rows, method, ascent=Ascent(STEPS))
    # Coefficients lost a part to float32, and to float64 before.
    lost = np.abs(weights - rows)
    if lost.any():
        lost += 2 * UNIT * np.abs(weights)
        ends = np.concatenate([np.eye(network.classes), -np.eye(network.classes)])
        values = linear_bounds(network, boxes, layers, ends, "crown")
        largest = np.maximum(-values[:, : network.classes], -values[:, network.classes :])
        bounds = bounds - (1 + 1e-9) * (np.abs(largest) @ lost.T)
    return bounds
