"""CROWN bounds over whole boxes, which exclude polytopes without a search."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify.network_rows import UNIT
from graphprune.backends.verify.query import VerificationQuery
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.ir import Network

Floats = NDArray[np.float64]


def close_at_root(query: VerificationQuery) -> VerificationQuery:
    """The query without the polytopes that CROWN bounds over the whole box exclude."""
    if query.polytopes == 0:
        return query
    return query.only(np.flatnonzero(~excluded(query, boxes_of(query))[0]).tolist())


def excluded(query: VerificationQuery, boxes: Boxes) -> NDArray[np.bool_]:
    """(B, polytopes) of which a constraint is proven false over a box, by CROWN."""
    limits = query.limits + 4 * UNIT * np.abs(query.limits)
    beyond = row_bounds(query.network, boxes, query.weights) > limits
    polytope = np.repeat(np.arange(query.polytopes), np.diff(query.first))
    found = np.zeros((len(beyond), query.polytopes), np.bool_)
    for p in range(query.polytopes):
        found[:, p] = beyond[:, polytope == p].any(axis=1)
    return found


def row_bounds(network: Network, boxes: Boxes, weights: Floats) -> Floats:
    """Lower bounds (B, K) of rows (K, outputs) times the outputs, by CROWN."""
    layers = pre_activation_bounds(network, boxes, "crown")
    rows = weights.astype(np.float32)
    bounds = linear_bounds(network, boxes, layers, rows, "crown")
    # Coefficients lost a part to float32, and to float64 before.
    lost = np.abs(weights - rows)
    if lost.any():
        lost += 2 * UNIT * np.abs(weights)
        ends = np.concatenate([np.eye(network.classes), -np.eye(network.classes)])
        values = linear_bounds(network, boxes, layers, ends, "crown")
        largest = np.maximum(-values[:, : network.classes], -values[:, network.classes :])
        bounds = bounds - (1 + 1e-9) * (np.abs(largest) @ lost.T)
    return bounds
