"""Bounds of hidden layers: the public function, and what is said of a layer in one line."""

from collections.abc import Sequence

import numpy as np

from graphprune.bounds.problem import METHODS, Boxes, LayerBounds, Method
from graphprune.bounds.propagate import (
    PreActivationBounds,
    optimised_bounds,
    pre_activation_bounds,
)
from graphprune.errors import GraphpruneError, check_kind, check_known
from graphprune.ir import A_NETWORK, Network
from graphprune.ir.network import activation_of, pre_activation, sample_shape
from graphprune.region import Ball, Region


def hidden_bounds(
    network: Network, region: Region, *, method: Method = "crown"
) -> list[PreActivationBounds]:
    """Bounds of the input of every activation over a ball or a box.

    Parameters
    ----------
    network
        Any number of outputs will do.
    region
        A :class:`Ball`, as of ``anchor.ball(radius, gp.Domain())``, or a :class:`Box`.
    method
        ``crown`` (the default), ``alpha-crown`` (slower and tighter), ``ibp``, ``fastlin`` or
        ``fastlin-ibp``.

    Returns
    -------
    list of PreActivationBounds
        One per activation layer in the order of `network.activations`: `lower` and `upper` are
        float64 in the layer's sample shape. Every value that a point of the region gives, in real
        arithmetic, lies between them: rounding is paid for.

    Raises
    ------
    GraphpruneError
        The region is none or does not fit the network, the method is unknown, or the bounds
        overflow.
    """
    check_known("method", method, METHODS)
    check_kind(network, Network, A_NETWORK)
    check_kind(region, Region, "a Ball or a Box, as of anchor.ball(radius, gp.Domain())")
    if region.lower.shape != network.input_shape:
        raise GraphpruneError(
            f"the region has shape {region.lower.shape}, the network takes {network.input_shape}"
        )
    boxes = Boxes.of(region)
    layers = pre_activation_bounds(network, boxes, method, every=True)
    if method == "alpha-crown":
        layers = optimised_bounds(network, boxes, layers)
    return shaped_bounds(network, region, layers, method)


def shaped_bounds(
    network: Network, region: Region, layers: Sequence[LayerBounds], method: str
) -> list[PreActivationBounds]:
    """Bounds of one region's layers in their sample shapes."""
    radius = region.radius if isinstance(region, Ball) else None
    found = []
    for activation, layer in zip(network.activations, layers, strict=True):
        shape = sample_shape(pre_activation(activation))
        lower, upper = (b[0].astype(np.float64).reshape(shape) for b in (layer.lower, layer.upper))
        found.append(PreActivationBounds(lower, upper, radius, method))
    return found


def describe_bounds(network: Network, layers: Sequence[LayerBounds]) -> list[str]:
    """A line per activation layer: how many live neurons have which sign, and how wide they are."""
    lines = []
    for number, (node, layer) in enumerate(zip(network.activations, layers, strict=True), 1):
        lower, upper = (b[0].astype(np.float64) for b in (layer.lower, layer.upper))
        live = network.live(node)
        if not live.any():
            lines.append(f"layer {number}: no live neurons")
            continue
        text = f"layer {number}: {int(live.sum())} neurons in"
        text += f" [{lower[live].min():.5g}, {upper[live].max():.5g}],"
        text += f" mean width {float((upper - lower)[live].mean()):.5g}"
        if activation_of(node).piecewise_linear:
            on, off = (lower >= 0) & live, (upper <= 0) & (lower < 0) & live
            signs = int(on.sum()), int(off.sum()), int((live & ~on & ~off).sum())
            text += ", {} active, {} inactive, {} unstable".format(*signs)
        lines.append(text)
    return lines
