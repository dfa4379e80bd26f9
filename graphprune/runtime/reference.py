"""Float64 runs: the second opinion on every point, and exact rows for the solver.

Only the canonical dialect's forward operators run here. (The reference BatchNormalization before
opset 14 ignores epsilon: files themselves do not.)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import (
    BATCH,
    Network,
    Segment,
    activation_of,
    affine,
    data_inputs,
    sample_shape,
)
from graphprune.transforms.forward import Values, emit, forward

Floats = NDArray[np.float64]


class Reference:
    """A graph run by ``onnx.reference``; same calling convention as the ONNX Runtime one."""

    def __init__(self, model: ir.Model | onnx.ModelProto) -> None:
        from graphprune.functions.evaluator import Evaluator

        proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
        self._evaluator = Evaluator(proto)

    def __call__(self, feeds: Mapping[str, NDArray[np.generic]]) -> list[NDArray[Any]]:
        # Values beyond a function's domain are NaN here as in ONNX Runtime, without a word.
        with np.errstate(all="ignore"):
            return self._evaluator.run(feeds)


def forward64(network: Network, x: NDArray[np.floating]) -> list[Floats]:
    """[logits (N, classes), pre-activations (N, *sample) in graph order] in float64."""
    run = network.cached("forward64", lambda: Reference(forward(network, "float64", record=True)))
    return run({"x": x.astype(np.float64).reshape(len(x), *network.input_shape)})


def pre_activations(network: Network, *points: NDArray[np.floating]) -> list[Floats]:
    """Pre-activations (len(points), neurons) of every activation layer, in graph order."""
    stacked = np.stack([np.asarray(p, dtype=np.float64) for p in points])
    return [z.reshape(len(points), -1) for z in forward64(network, stacked)[1:]]


def not_finite(network: Network, x: NDArray[np.floating]) -> str:
    """A sentence that logits at a point (*sample) are not finite, with the node it begins at.

    Numbers that float32 does not hold are not finite: runtimes compute in it.
    """
    text = "the network's logits at the anchor are not finite"
    with np.errstate(all="ignore"):
        for node, z in zip(network.activations, forward64(network, x[None])[1:], strict=True):
            inputs, values = z.ravel(), activation_of(node).value(z.reshape(1, -1)).ravel()
            kind = type(activation_of(node)).__name__
            for numbers, said in (
                (inputs, "its input {1} is {0:g}"),
                (values, "{2:g} makes {0:g}"),
            ):
                wrong = np.flatnonzero(~np.isfinite(numbers.astype(np.float32)))
                if len(wrong):
                    first = int(wrong[0])
                    found = said.format(numbers[first], first, inputs[first])
                    return f"{text}: node '{node.name}' ({kind}): {found}"
    return text


def segment_offset(network: Network, segment: Segment) -> Floats:
    """The segment's target (sample shape) when all its sources are zero."""
    zeros = [np.zeros((1, *sample_shape(s))) for s in segment.sources]
    at_zero: Floats = run_segment(network, segment, zeros, linear=False)[0]
    return at_zero


def run_segment(
    network: Network, segment: Segment, sources: list[Floats], *, linear: bool
) -> Floats:
    """Push source values (N, *sample) through a segment; `linear` leaves the offset out."""

    def build() -> Reference:
        b = GraphBuilder(np.float64)
        values: Values = {
            s: b.input(f"s{i}", [BATCH, *sample_shape(s)]) for i, s in enumerate(segment.sources)
        }
        if linear:
            for node in segment.nodes:
                inputs = [values[v] for v in data_inputs(node)]
                values[node.outputs[0]] = affine(node).linear(b, *inputs)
        else:
            emit(b, segment.nodes, values)
        b.output(values[segment.target], "target")
        return Reference(b.build("segment"))

    run = network.cached(("segment", id(segment.target), linear), build)
    return run({f"s{i}": value for i, value in enumerate(sources)})[0]
