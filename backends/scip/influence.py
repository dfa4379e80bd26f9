"""Influence of neurons on a margin: the amount that their relaxation can lower it by."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.condensed import Condensed

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Steps of branching priority: SCIP's own score decides among neurons of one step.
STEPS = 4


def influence(condensed: Condensed, row: Floats) -> list[Floats]:
    """Amount, per layer and neuron, that the relaxation can lower the margin `row` . logits by.

    The margin's coefficients, carried down through the triangle's upper line (where negative:
    the side that the relaxation may choose) and its adaptive lower line, times the triangle's
    height.
    """
    margin = row @ condensed.logits
    scores = []
    for layer in reversed(condensed.layers):
        size = len(layer.offset)
        own = margin[layer.start : layer.start + size]
        width = layer.upper - layer.lower
        height = -layer.lower * layer.upper / width
        scores.append(np.maximum(-own, 0.0) * height)
        slope = np.where(own < 0, layer.upper / width, (layer.upper > -layer.lower) * 1.0)
        below = layer.rows.T @ (own * slope)
        margin = margin[: layer.start].copy()
        margin[: len(below)] += below[: layer.start]
    return scores[::-1]


def most_damaging(condensed: Condensed, row: Floats, count: int) -> list[Bools]:
    """Per layer, the `count` neurons of the network with the most influence."""
    scores = influence(condensed, row)
    flat = np.concatenate([np.zeros(0), *scores])
    chosen = np.zeros(len(flat), dtype=bool)
    chosen[np.argsort(-flat, kind="stable")[:count]] = True
    return list(np.split(chosen, np.cumsum([len(s) for s in scores])[:-1]))


def priorities(condensed: Condensed, row: Floats) -> NDArray[np.intp]:
    """1 (least) to `STEPS` for every unstable neuron, in graph order, by its influence."""
    scores = np.concatenate([np.zeros(0), *influence(condensed, row)])
    rank = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    return 1 + (STEPS * rank) // max(1, len(rank))
