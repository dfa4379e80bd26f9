"""A region's constraints and the rows' errors in the kernels' terms."""

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.verify.kernels import LinearSpecifications
from graphprune.backends.verify.network_rows import UNIT, NetworkRows
from graphprune.backends.verify.query import VerificationQuery
from graphprune.bounds import Boxes, LayerBounds, pre_activation_bounds, round_down, round_up
from graphprune.ir.network import Network, sample_shape
from graphprune.runtime.session import compiled

Floats = NDArray[np.float64]


def boxes_of(query: VerificationQuery) -> Boxes:
    """The region's box, rounded outward to float32."""
    return Boxes(round_down(query.lower[None]), round_up(query.upper[None]))


def specifications_and_errors(
    query: VerificationQuery, rows: NetworkRows
) -> tuple[LinearSpecifications, Floats]:
    """Constraints as rows over the basis, and every neuron's `error` on the region's box."""
    network = query.network
    layers = pre_activation_bounds(network, boxes_of(query), "ibp", until=query.deadline)
    roundings = 2 * max(segment.rounding for segment in network.segments) + 8
    magnitude = np.concatenate([np.zeros(0), *(layer.magnitude[0] for layer in layers)])
    error = 2.0 * roundings * UNIT * magnitude.astype(np.float64) + 1e-300

    neurons = int(rows.starts[-1])
    outputs = np.zeros((network.classes, rows.inputs + neurons))
    for y in range(network.classes):
        part = slice(rows.indptr[neurons + y], rows.indptr[neurons + y + 1])
        outputs[y, rows.indices[part]] = rows.values[part]
    output_magnitude = _output_magnitude(network, query, layers)
    offset = query.weights @ rows.offset[neurons:] - query.limits
    lost = np.abs(query.weights) @ (rows.gamma * output_magnitude)
    lost += 8 * UNIT * np.abs(query.limits)
    specifications = LinearSpecifications(
        np.ascontiguousarray(query.weights @ outputs), offset, lost + 1e-300, query.first
    )
    return specifications, error


def _output_magnitude(
    network: Network, query: VerificationQuery, layers: list[LayerBounds]
) -> Floats:
    """Magnitudes (outputs,) that rounding errors of the outputs are proportional to."""
    segment = network.segments[-1]
    index = {id(a.outputs[0]): i for i, a in enumerate(network.activations)}
    boxes = boxes_of(query)
    feeds: dict[str, NDArray[np.generic]] = {}
    for i, source in enumerate(segment.sources):
        if source is network.input:
            lower, upper = boxes.lower, boxes.upper
        else:
            layer = layers[index[id(source)]]
            lower, upper = np.maximum(layer.lower, 0.0), np.maximum(layer.upper, 0.0)
        feeds[f"lower{i}"] = lower.reshape(1, *sample_shape(source))
        feeds[f"upper{i}"] = upper.reshape(1, *sample_shape(source))
    top = len(network.segments) - 1
    run = compiled(network, ("interval", top), lambda: transforms.interval(network, top))
    magnitude: Floats = run(feeds)[2].reshape(-1).astype(np.float64)
    return magnitude
