"""Replacement lines of neurons: slope * z + offset, all exact at the anchor.

=============  =====================================================================
``constant``   sigma(z0): what the neuron gives at the anchor
``secant``     the line that is exact at every kept point, where there is one
``ball``       least squares over points of the ball
``segment``    least squares over the segment to the adversarial point
``relaxation`` the slope of the chord over the neuron's bounds
=============  =====================================================================

A new one is a function with the decorator :func:`register_replacement`, here or in a module that a
distribution names in the entry-point group ``graphprune.replacements``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import LayerBounds
from graphprune.ir.network import Activation
from graphprune.plugins import Registry
from graphprune.substitutes.context import LocalContext

Floats = NDArray[np.float64]

# A line is exact at a point where it misses the activation by no more than this share of it.
EXACT = 1e-9


@dataclass(frozen=True, eq=False)
class NeuronLines:
    """Lines for a layer's neurons, (neurons,) each; `fits` where the line may be used at all."""

    slope: Floats
    offset: Floats
    fits: NDArray[np.bool_]


Make = Callable[[LocalContext, int, LayerBounds], NeuronLines]


@dataclass(frozen=True)
class NeuronReplacement:
    """A way to make lines.

    Attributes
    ----------
    make
        NeuronLines of a layer from the context, the layer's index and its bounds.
    needs_adversarial
        An adversarial point has to be known.
    keeps_adversarial
        Substitutes classify the known adversarial point as the network does.
    """

    make: Make
    needs_adversarial: bool = False
    keeps_adversarial: bool = False


_REPLACEMENTS: Registry[NeuronReplacement] = Registry("replacement", "graphprune.replacements")


def register_replacement(
    name: str, *, needs_adversarial: bool = False, keeps_adversarial: bool = False
) -> Callable[[Make], Make]:
    """Decorator: make a function known as the replacement `name`."""

    def wrap(make: Make) -> Make:
        _REPLACEMENTS.add(name, NeuronReplacement(make, needs_adversarial, keeps_adversarial))
        return make

    return wrap


def replacements() -> Mapping[str, NeuronReplacement]:
    """Every known replacement by name, those of installed distributions too."""
    return _REPLACEMENTS.known()


def secant(z0: Floats, z1: Floats, sigma: Activation) -> tuple[Floats, Floats]:
    """(c, d) of the lines that meet an activation at z0 and z1.

    Secants are no steeper than the derivative between these points; near-equal pre-activations
    would let rounding throw them far out.
    """
    s0, s1 = sigma.value(z0), sigma.value(z1)
    gap = z1 - z0
    same = gap == 0
    slope = (s1 - s0) / np.where(same, 1.0, gap)
    slope = np.clip(slope, *sigma.slope_range(np.minimum(z0, z1), np.maximum(z0, z1)))
    slope = np.where(same, 0.0, slope)
    return slope, s0 - slope * z0


@register_replacement("constant")
def constant(context: LocalContext, layer: int, bounds: LayerBounds) -> NeuronLines:
    value = context.activation(layer).value(context.at_anchor[layer])
    return NeuronLines(np.zeros_like(value), value, np.ones(value.shape, dtype=bool))


@register_replacement("secant", needs_adversarial=True, keeps_adversarial=True)
def through_kept(context: LocalContext, layer: int, bounds: LayerBounds) -> NeuronLines:
    """The line through the anchor and the kept point farthest from it, by neuron.

    Far is a pre-activation. The line fits where the other points lie on it too: with one kept
    point that is every neuron, with more it is those whose points all lie on one piece of the
    activation, or else happen to lie on a line.
    """
    z = context.at_kept[layer]
    sigma = context.activation(layer)
    s = sigma.value(z)
    neurons = np.arange(z.shape[1])
    far = np.abs(z - z[0]).argmax(axis=0)
    slope, offset = secant(z[0], z[far, neurons], sigma)
    miss = np.abs(slope * z + offset - s).max(axis=0)
    return NeuronLines(slope, offset, miss <= EXACT * (1.0 + np.abs(z).max(axis=0)))


def least_squares(context: LocalContext, layer: int, samples: Floats) -> NeuronLines:
    """The line exact at the anchor with the least squared error at `samples` (S, neurons)."""
    value = context.activation(layer).value
    z0 = context.at_anchor[layer]
    dz, ds = samples - z0, value(samples) - value(z0)
    square = (dz * dz).sum(axis=0)
    slope = np.where(square > 0, (dz * ds).sum(axis=0) / np.where(square > 0, square, 1.0), 0.0)
    return NeuronLines(slope, value(z0) - slope * z0, np.ones(len(z0), dtype=bool))


@register_replacement("ball")
def over_ball(context: LocalContext, layer: int, bounds: LayerBounds) -> NeuronLines:
    return least_squares(context, layer, context.in_ball[layer])


@register_replacement("segment", needs_adversarial=True)
def over_segment(context: LocalContext, layer: int, bounds: LayerBounds) -> NeuronLines:
    return least_squares(context, layer, context.on_segment[layer])


@register_replacement("relaxation")
def chord(context: LocalContext, layer: int, bounds: LayerBounds) -> NeuronLines:
    lower, upper = bounds.lower[0].astype(np.float64), bounds.upper[0].astype(np.float64)
    sigma, z0 = context.activation(layer), context.at_anchor[layer]
    slope, _ = secant(lower, upper, sigma)
    return NeuronLines(slope, sigma.value(z0) - slope * z0, np.ones(len(z0), dtype=bool))
