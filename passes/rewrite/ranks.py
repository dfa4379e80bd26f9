"""Which neurons are replaced first: one number per neuron, the smallest goes first.

=============  ==============================================================================
``range``      upper - lower pre-activation bound on the ball (the paper's variability)
``gap``        how far the activation departs from its chord between the bounds: 0 when stable
``influence``  |d margin / d h| times the largest error of the line between the bounds
=============  ==============================================================================

A new one is a function with an entry in `RANKS`.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import LayerBounds
from graphprune.passes.rewrite.lines import Lines, secant
from graphprune.passes.rewrite.scene import Scene

Floats = NDArray[np.float64]
Rank = Literal["range", "gap", "influence"]
Score = Callable[[Scene, int, LayerBounds, Lines], Floats]

# Points between a neuron's bounds at which errors are measured.
GRID = np.linspace(0.0, 1.0, 33)[:, None]


def width(scene: Scene, layer: int, bounds: LayerBounds, lines: Lines) -> Floats:
    return np.asarray(bounds.upper[0].astype(np.float64) - bounds.lower[0])


def gap(scene: Scene, layer: int, bounds: LayerBounds, lines: Lines) -> Floats:
    lower, upper = bounds.lower[0].astype(np.float64), bounds.upper[0].astype(np.float64)
    sigma = scene.activation(layer)
    line = secant(lower, upper, sigma.value(lower), sigma.value(upper), sigma.slopes)
    return _error(scene, layer, bounds, *line)


def influence(scene: Scene, layer: int, bounds: LayerBounds, lines: Lines) -> Floats:
    error = _error(scene, layer, bounds, lines.slope, lines.offset)
    return np.asarray(scene.sensitivity[layer] * error)


def _error(scene: Scene, layer: int, bounds: LayerBounds, slope: Floats, offset: Floats) -> Floats:
    z = bounds.lower[0] + GRID * (bounds.upper[0].astype(np.float64) - bounds.lower[0])
    miss = np.abs(scene.activation(layer).value(z) - (slope * z + offset))
    return np.asarray(miss.max(axis=0))


RANKS: dict[Rank, Score] = {"range": width, "gap": gap, "influence": influence}
