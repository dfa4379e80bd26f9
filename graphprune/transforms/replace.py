"""Neuron-level replacement, the one rewrite all pruners share.

    h = keep * sigma(z) + slope * z + offset

with one number of each kind per neuron: stable (0 or z), constant (sigma(f_i(x0))), secant
through x0 and x_adv, or any other line. A pruner only decides the three tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.network import Network, operator, pre_activation, sample_shape, size
from graphprune.ir.rebuild import NetworkBuilder, Values, map_operators
from graphprune.operators import Add, Scale, Shift

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Replacement:
    """Replacement of one activation layer; arrays of shape (neurons,), `keep` 0 or 1."""

    keep: Floats
    slope: Floats
    offset: Floats

    @classmethod
    def nothing(cls, neurons: int) -> "Replacement":
        """Every neuron kept."""
        return cls(np.ones(neurons), np.zeros(neurons), np.zeros(neurons))

    def with_lines(self, where: NDArray[np.bool_], slope: Floats, offset: Floats) -> "Replacement":
        """Neurons in the flat mask `where` become slope * z + offset."""
        return Replacement(
            np.where(where, 0.0, self.keep),
            np.where(where, slope, self.slope),
            np.where(where, offset, self.offset),
        )

    @property
    def removed(self) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self.keep == 0
        return mask


def apply(network: Network, replacements: Mapping[int, Replacement]) -> Network:
    """The network with the given activation layers (by index) replaced.

    The result still speaks for the source of `network`; a pass that changes the function calls
    :func:`graphprune.ir.export.with_own_source`.
    """
    layers = {a: replacements.get(i) for i, a in enumerate(network.activations)}

    def change(builder: NetworkBuilder, node: ir.Node, values: Values) -> ir.Value | None:
        new = layers.get(node)
        return None if new is None else _replaced(builder, node, values[pre_activation(node)], new)

    return map_operators(network, change)


def without_dead_layers(network: Network) -> Network:
    """Activation layers without a live neuron become the constant 0."""
    dead = {
        i: Replacement.nothing(size(a.outputs[0])).with_lines(
            np.ones(size(a.outputs[0]), dtype=bool), np.zeros(1), np.zeros(1)
        )
        for i, a in enumerate(network.activations)
        if not network.live(a).any()
    }
    return apply(network, dead)


def _replaced(builder: NetworkBuilder, node: ir.Node, z: ir.Value, new: Replacement) -> ir.Value:
    name, shape = str(node.outputs[0].name), sample_shape(node.outputs[0])
    parts = []
    if np.any(new.keep):
        kept = builder.add(operator(node), z, name=name)
        if not np.all(new.keep == 1):
            kept = builder.add(Scale(new.keep.reshape(shape), shape), kept, name=f"{name}_keep")
        parts.append(kept)
    if np.any(new.slope) or not parts:
        scale = Scale(new.slope.reshape(shape), shape)
        parts.append(builder.add(scale, z, name=f"{name}_slope"))
    total = parts[0] if len(parts) == 1 else builder.add(Add(), *parts, name=f"{name}_sum")
    if np.any(new.offset):
        total = builder.add(Shift(new.offset.reshape(shape), shape), total, name=f"{name}_offset")
    return total
