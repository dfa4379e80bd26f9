"""Scores of neurons: one number per neuron, the smallest is replaced first.

=============  ==============================================================================
``range``      upper - lower pre-activation bound on the ball (the paper's variability)
``gap``        how far the activation departs from its chord between the bounds: 0 when stable
``influence``  |d margin / d h| times the largest error of the line between the bounds
=============  ==============================================================================

A new one is a function with the decorator :func:`register_score`, here or in a module that a
distribution names in the entry-point group ``graphprune.scores``.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import LayerBounds
from graphprune.plugins import Registry
from graphprune.substitutes.context import LocalContext
from graphprune.substitutes.replacements import NeuronLines, secant

Floats = NDArray[np.float64]
Score = Callable[[LocalContext, int, LayerBounds, NeuronLines], Floats]

# Points between a neuron's bounds at which errors are measured.
GRID = np.linspace(0.0, 1.0, 33)[:, None]


_SCORES: Registry[Score] = Registry("score", "graphprune.scores")


def register_score(name: str) -> Callable[[Score], Score]:
    """Decorator: make a function known as the score `name`."""

    def wrap(score: Score) -> Score:
        _SCORES.add(name, score)
        return score

    return wrap


def scores() -> Mapping[str, Score]:
    """Every known score by name, those of installed distributions too."""
    return _SCORES.known()


@register_score("range")
def width(context: LocalContext, layer: int, bounds: LayerBounds, lines: NeuronLines) -> Floats:
    return np.asarray(bounds.upper[0].astype(np.float64) - bounds.lower[0])


@register_score("gap")
def gap(context: LocalContext, layer: int, bounds: LayerBounds, lines: NeuronLines) -> Floats:
    lower, upper = bounds.lower[0].astype(np.float64), bounds.upper[0].astype(np.float64)
    sigma = context.activation(layer)
    line = secant(lower, upper, sigma)
    return _error(context, layer, bounds, *line)


@register_score("influence")
def influence(context: LocalContext, layer: int, bounds: LayerBounds, lines: NeuronLines) -> Floats:
    error = _error(context, layer, bounds, lines.slope, lines.offset)
    return np.asarray(context.sensitivity[layer] * error)


def _error(
    context: LocalContext, layer: int, bounds: LayerBounds, slope: Floats, offset: Floats
) -> Floats:
    z = bounds.lower[0] + GRID * (bounds.upper[0].astype(np.float64) - bounds.lower[0])
    miss = np.abs(context.activation(layer).value(z) - (slope * z + offset))
    return np.asarray(miss.max(axis=0))
