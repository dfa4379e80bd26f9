"""The network on a ball, condensed: affine rows over the input and the unstable neurons.

Neurons that the bounds prove inactive are 0, active ones are the affine map below them, so only
unstable neurons remain as variables. The rows come from pushing the basis through the segments
in float64, one batch per layer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.reference.runtime import run_segment
from graphprune.errors import UnsupportedError
from graphprune.ir.network import Network, activation_of, sample_shape, size
from graphprune.operators import Relu
from graphprune.passes.analysis.bounds import LayerBounds

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class UnstableLayer:
    """The unstable neurons of one activation layer.

    Attributes
    ----------
    rows
        (k, basis below): pre-activations over the basis below this layer.
    offset
        (k,).
    lower, upper
        (k,) certified pre-activation bounds, lower < 0 < upper.
    start
        Index of the layer's first neuron in the basis.
    """

    rows: Floats
    offset: Floats
    lower: Floats
    upper: Floats
    start: int


@dataclass(frozen=True, eq=False)
class Condensed:
    """The basis is the flat input followed by every layer's unstable neurons.

    Attributes
    ----------
    layers
        In graph order.
    logits
        (classes, basis).
    offset
        (classes,).
    """

    layers: tuple[UnstableLayer, ...]
    logits: Floats
    offset: Floats


def condense(network: Network, bounds: list[LayerBounds]) -> Condensed:
    """Condense a ReLU network over a ball whose pre-activation `bounds` (batch of one) hold.

    Raises
    ------
    UnsupportedError
        The network has activations other than ReLU.
    """
    inputs = size(network.input)
    # Value of a source: (1 + basis, *sample); row 0 is the constant part.
    start = np.concatenate([np.zeros((1, inputs)), np.eye(inputs)])
    forms = {id(network.input): start.reshape(-1, *network.input_shape)}
    basis = inputs
    layers = []
    for index, activation in enumerate(network.activations):
        if not isinstance(activation_of(activation), Relu):
            raise UnsupportedError(f"node '{activation.name}': the MILP knows ReLU only")
        z = _push(network, index, forms, basis)
        layer = bounds[index]
        lower, upper = layer.lower[0].astype(np.float64), layer.upper[0].astype(np.float64)
        unstable = np.flatnonzero((lower < 0) & (upper > 0) & network.alive(activation))
        layers.append(
            UnstableLayer(
                np.ascontiguousarray(z[1:, unstable].T), z[0, unstable].copy(),
                lower[unstable], upper[unstable], basis,
            )
        )  # fmt: skip
        h = np.concatenate([z * (lower >= 0), np.zeros((len(unstable), z.shape[1]))])
        h[1 + basis + np.arange(len(unstable)), unstable] = 1.0
        basis += len(unstable)
        out = activation.outputs[0]
        forms[id(out)] = h.reshape(-1, *sample_shape(out))
    z = _push(network, len(network.activations), forms, basis)
    return Condensed(tuple(layers), np.ascontiguousarray(z[1:].T), z[0].copy())


def _push(network: Network, index: int, forms: dict[int, Floats], basis: int) -> Floats:
    """The target of a segment over the basis so far, (1 + basis, neurons)."""
    segment = network.segments[index]
    sources = []
    for source in segment.sources:
        form = forms[id(source)]
        missing = np.zeros((1 + basis - len(form), *form.shape[1:]))
        sources.append(np.concatenate([form, missing]))
    offset = run_segment(network, segment, [s[:1] for s in sources], linear=False)
    width = size(segment.target)
    rows = [offset.reshape(1, width)]
    step = max(1, (1 << 24) // max(width, *(s[0].size for s in sources))) if sources else 1
    for start in range(1, 1 + basis, step):
        part = [s[start : start + step] for s in sources]
        if not part:
            rows.append(np.zeros((basis, width)))
            break
        linear = run_segment(network, segment, part, linear=True)
        rows.append(linear.reshape(len(part[0]), width))
    return np.concatenate(rows)
