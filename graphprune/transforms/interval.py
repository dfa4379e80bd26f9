"""Interval images of affine segments by centre and radius: W c + b, |W| r."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import (
    BATCH,
    AffineOperator,
    Network,
    Segment,
    activation_of,
    affine,
    data_inputs,
    sample_shape,
)
from graphprune.transforms.forward import Values, emit
from graphprune.transforms.rounding import gamma
from graphprune.transforms.underflow import slack

Ends = tuple[ir.Value, ir.Value]


def interval(network: Network, index: int) -> ir.Model:
    """Graph from bounds of the sources of segment `index` to bounds of its target.

    Inputs ``lower{i}``, ``upper{i}`` (N, *source sample) for every source i; outputs ``lower``,
    ``upper``, rounding included, and ``magnitude`` = |W| max(|lower|, |upper|) + |b|, all
    (N, *target sample), float32.
    """
    b = GraphBuilder("float32")
    sources = network.segments[index].sources
    ends = {source: _inputs(b, source, str(i)) for i, source in enumerate(sources)}
    for name, value in zip(
        ("lower", "upper", "magnitude"), _image(b, network, index, ends), strict=True
    ):
        b.output(value, name)
    return b.build("interval")


def intervals(network: Network) -> ir.Model:
    """Graph of the interval images of all pre-activations of a ReLU network.

    Inputs ``lower``, ``upper`` (N, *input sample); outputs ``lower{i}``, ``upper{i}``,
    ``magnitude{i}`` for activation i, as those of `interval`.
    """
    b = GraphBuilder("float32")
    ends = {network.input: _inputs(b, network.input, "")}
    for i, activation in enumerate(network.activations):
        lower, upper, magnitude = _image(b, network, i, ends)
        b.output(lower, f"lower{i}")
        b.output(upper, f"upper{i}")
        b.output(magnitude, f"magnitude{i}")
        op = activation_of(activation)  # increasing, and exact in any precision
        ends[activation.outputs[0]] = op.forward(b, lower), op.forward(b, upper)
    return b.build("intervals")


def _inputs(b: GraphBuilder, source: ir.Value, suffix: str) -> Ends:
    shape: list[int | str] = [BATCH, *sample_shape(source)]
    return b.input(f"lower{suffix}", shape), b.input(f"upper{suffix}", shape)


def _selected(
    b: GraphBuilder, segment: Segment, ends: Mapping[ir.Value, Ends]
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The image by operators that only choose numbers: exact, which matters where jumps follow."""
    images = []
    for side in (0, 1):
        found: Values = {source: ends[source][side] for source in segment.sources}
        emit(b, segment.nodes, found)
        images.append(found[segment.target])
    largest = b.op("Max", [b.op("Abs", [end]) for end in images])
    # (An output by another name than the input's.)
    return b.op("Identity", [images[0]]), b.op("Identity", [images[1]]), largest


def _chooses(op: AffineOperator) -> bool:
    """True of an operator that copies numbers: exact, and without a negative weight."""
    return op.rounding == 0 and op.absolute() is op


def _image(
    b: GraphBuilder, network: Network, index: int, ends: Mapping[ir.Value, Ends]
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Lower, upper and magnitude of the target of a segment; the bounds include all rounding."""
    segment = network.segments[index]
    if segment.sources and all(_chooses(affine(node)) for node in segment.nodes):
        return _selected(b, segment, ends)
    half = b.scalar(0.5)
    centre: Values = {}
    radius: Values = {}
    magnitude: Values = {}
    # The factor that the forward slack grows with.
    reach = b.scalar(1.0)
    target = segment.target
    for source in segment.sources:
        low, high = ends[source]
        centre[source] = b.op("Mul", [b.op("Add", [low, high]), half])
        radius[source] = b.op("Mul", [b.op("Sub", [high, low]), half])
        largest = magnitude[source] = b.op("Max", [b.op("Abs", [low]), b.op("Abs", [high])])
        axes = tuple(range(1, 1 + len(sample_shape(source))))
        reach = b.op("Max", [reach, b.op("ReduceMax", [largest], {"axes": axes, "keepdims": 0})])
    for node in segment.nodes:
        op, out, inputs = affine(node), node.outputs[0], data_inputs(node)
        absolute = op.absolute()
        centre[out] = op.forward(b, *(centre[v] for v in inputs))
        radius[out] = absolute.linear(b, *(radius[v] for v in inputs))
        magnitude[out] = absolute.forward(b, *(magnitude[v] for v in inputs))
    if segment.sources:
        reach = b.op("Unsqueeze", [reach, b.ints(range(1, 1 + len(sample_shape(target))))])
    with np.errstate(over="ignore"):  # infinite bounds are refused
        moves = 1.01 * slack(network, index).forward.reshape(1, *sample_shape(target))
        moved = b.op("Mul", [b.constant(moves.astype(np.float32), "slack"), reach])
    # The centre is off in proportion to the magnitude, the radius to itself.
    terms = b.op("Add", [magnitude[target], radius[target]])
    relative = b.op("Mul", [terms, b.scalar(gamma(segment.rounding))])
    spread = b.op("Sum", [radius[target], relative, moved])
    lower, upper = (b.op(op, [centre[target], spread]) for op in ("Sub", "Add"))
    return lower, upper, magnitude[target]
