"""By what neurons are replaced: lines slope * z + offset, all exact at the anchor.

=============  =====================================================================
``constant``   sigma(z0): what the neuron gives at the anchor
``secant``     the line that is exact at every kept point, where there is one
``ball``       least squares over points of the ball
``segment``    least squares over the segment to the adversarial point
``relaxation`` the slope of the chord over the neuron's bounds
=============  =====================================================================

A new one is a function with an entry in `LINES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import LayerBounds
from graphprune.passes.rewrite.scene import Scene

Floats = NDArray[np.float64]

# A line is exact at a point where it misses the activation by no more than this share of it.
EXACT = 1e-9


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines for a layer's neurons, (neurons,) each; `fits` where the line may be used at all."""

    slope: Floats
    offset: Floats
    fits: NDArray[np.bool_]


By = Literal["constant", "secant", "ball", "segment", "relaxation"]
Make = Callable[[Scene, int, LayerBounds], Lines]


def secant(
    z0: Floats, z1: Floats, s0: Floats, s1: Floats, limits: tuple[float, float] = (0.0, 1.0)
) -> tuple[Floats, Floats]:
    """(c, d) of the lines through (z0, s0) and (z1, s1); c lies within `limits`.

    Secants are no steeper than the derivative can be (0 to 1 for ReLU); near-equal
    pre-activations would let rounding throw them far out.
    """
    gap = z1 - z0
    same = gap == 0
    slope = np.where(same, 0.0, (s1 - s0) / np.where(same, 1.0, gap))
    slope = np.clip(slope, *limits)
    return slope, s0 - slope * z0


def constant(scene: Scene, layer: int, bounds: LayerBounds) -> Lines:
    value = scene.activation(layer).value(scene.at_anchor[layer])
    return Lines(np.zeros_like(value), value, np.ones(value.shape, dtype=bool))


def through_kept(scene: Scene, layer: int, bounds: LayerBounds) -> Lines:
    """The line through the anchor and the kept point farthest from it, by neuron.

    Far is a pre-activation. The line fits where the other points lie on it too: with one kept
    point that is every neuron, with more it is those whose points all lie on one piece of the
    activation, or else happen to lie on a line.
    """
    z = scene.at_kept[layer]
    sigma = scene.activation(layer)
    s = sigma.value(z)
    neurons = np.arange(z.shape[1])
    far = np.abs(z - z[0]).argmax(axis=0)
    slope, offset = secant(z[0], z[far, neurons], s[0], s[far, neurons], sigma.slopes)
    miss = np.abs(slope * z + offset - s).max(axis=0)
    return Lines(slope, offset, miss <= EXACT * (1.0 + np.abs(z).max(axis=0)))


def least_squares(scene: Scene, layer: int, samples: Floats) -> Lines:
    """The line exact at the anchor with the least squared error at `samples` (S, neurons)."""
    value = scene.activation(layer).value
    z0 = scene.at_anchor[layer]
    dz, ds = samples - z0, value(samples) - value(z0)
    square = (dz * dz).sum(axis=0)
    slope = np.where(square > 0, (dz * ds).sum(axis=0) / np.where(square > 0, square, 1.0), 0.0)
    return Lines(slope, value(z0) - slope * z0, np.ones(len(z0), dtype=bool))


def chord(scene: Scene, layer: int, bounds: LayerBounds) -> Lines:
    lower, upper = bounds.lower[0].astype(np.float64), bounds.upper[0].astype(np.float64)
    sigma, z0 = scene.activation(layer), scene.at_anchor[layer]
    value = sigma.value
    slope, _ = secant(lower, upper, value(lower), value(upper), sigma.slopes)
    return Lines(slope, value(z0) - slope * z0, np.ones(len(z0), dtype=bool))


LINES: dict[By, Make] = {
    "constant": constant,
    "secant": through_kept,
    "ball": lambda scene, layer, bounds: least_squares(scene, layer, scene.in_ball[layer]),
    "segment": lambda scene, layer, bounds: least_squares(scene, layer, scene.on_segment[layer]),
    "relaxation": chord,
}
