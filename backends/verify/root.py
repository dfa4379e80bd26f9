"""CROWN bounds on the whole box, which exclude polytopes without a search."""

import numpy as np

from graphprune.backends.verify.network_rows import UNIT
from graphprune.backends.verify.query import VerificationQuery
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import linear_bounds, pre_activation_bounds


def close_at_root(query: VerificationQuery) -> VerificationQuery:
    """The query without the polytopes that CROWN bounds over the whole box exclude."""
    if query.polytopes == 0:
        return query
    boxes = boxes_of(query)
    layers = pre_activation_bounds(query.network, boxes, "crown")
    rows = query.weights.astype(np.float32)
    bounds = linear_bounds(query.network, boxes, layers, rows, "crown")[0]
    # Coefficients that float32 cannot hold would need a margin; their polytopes stay.
    exact = np.all(rows == query.weights, axis=1)
    limits = query.limits + 4 * UNIT * np.abs(query.limits)
    excluded = exact & (bounds > limits)
    left = [
        p for p in range(query.polytopes) if not excluded[query.first[p] : query.first[p + 1]].any()
    ]
    return query.only(left)
