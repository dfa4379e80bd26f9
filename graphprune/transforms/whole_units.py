"""Replacements of whole units and layers alone, after which a network runs no slower.

A layer some of whose neurons are lines has a ReLU, two products and a sum where it had a ReLU.
Where a replacement is exact, a neuron may as well stay what it was: so only units that vanish
(neurons of a vector, channels of a convolution that are 0) and whole layers that are linear go.
"""

from collections.abc import Mapping

import numpy as np

from graphprune.ir.network import Network, activation_of, pre_activation, sample_shape
from graphprune.transforms.merge_neurons import PlainLayer
from graphprune.transforms.replace import Replacement


def whole_units(
    network: Network, replacements: Mapping[int, Replacement]
) -> dict[int, Replacement]:
    """The part of exact replacements that removes whole units or layers.

    Parameters
    ----------
    replacements
        By index of the activation; slopes of 0 or 1 without offsets, as for stable ReLUs.
    """
    found = {index: _whole(network, index, new) for index, new in replacements.items()}
    return {index: new for index, new in found.items() if new is not None}


def _whole(network: Network, index: int, new: Replacement) -> Replacement | None:
    """The part of a layer's replacement that makes the network smaller; None for none."""
    node = network.activations[index]
    live = network.live(node)
    if not np.any(live) or activation_of(node).auxiliary:
        return None
    count = sample_shape(pre_activation(node))[0]
    size = live.size // count
    # Units of which some neuron that is read stays a ReLU, is its input, is 0.
    bent, on, off = (
        (mask & live).reshape(count, size).any(axis=1)
        for mask in (~new.removed, new.removed & (new.slope == 1), new.removed & (new.slope == 0))
    )
    plain = PlainLayer.of(network, node, {}) is not None
    if not bent.any() and (not off.any() or not on.any() or (plain and not np.any(on & off))):
        gone, slope = np.full(count, True), on.astype(np.float64)
    else:
        gone, slope = np.logical_not(bent | on) & plain, np.zeros(count)
    if not gone.any():
        return None
    return Replacement.nothing(live.size).with_lines(
        np.repeat(gone, size), np.repeat(slope, size), np.zeros(1)
    )
