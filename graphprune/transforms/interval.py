"""Interval image of one affine segment by centre and radius: W c + b, |W| r."""

import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import BATCH, Segment, affine, data_inputs, sample_shape
from graphprune.transforms.forward import Values
from graphprune.transforms.rounding import gamma


def interval(segment: Segment) -> ir.Model:
    """Graph from bounds of the segment's sources to bounds of its target.

    Rounding is included except for underflow: the forward slack of `underflow` is left to subtract.
    Inputs ``lower{i}``, ``upper{i}`` (N, *source sample) for every source i; outputs ``lower``,
    ``upper`` and ``magnitude`` = |W| max(|lower|, |upper|) + |b|, all (N, *target sample).
    """
    b = GraphBuilder("float32")
    half = b.scalar(0.5)
    centre: Values = {}
    radius: Values = {}
    magnitude: Values = {}
    for i, source in enumerate(segment.sources):
        shape: list[int | str] = [BATCH, *sample_shape(source)]
        low, high = b.input(f"lower{i}", shape), b.input(f"upper{i}", shape)
        centre[source] = b.op("Mul", [b.op("Add", [low, high]), half])
        radius[source] = b.op("Mul", [b.op("Sub", [high, low]), half])
        magnitude[source] = b.op("Max", [b.op("Abs", [low]), b.op("Abs", [high])])
    for node in segment.nodes:
        op, out, inputs = affine(node), node.outputs[0], data_inputs(node)
        absolute = op.absolute()
        centre[out] = op.forward(b, *(centre[v] for v in inputs))
        radius[out] = absolute.linear(b, *(radius[v] for v in inputs))
        magnitude[out] = absolute.forward(b, *(magnitude[v] for v in inputs))
    target = segment.target
    factor = b.scalar(2.0 * gamma(segment.rounding))
    error = b.op("Mul", [magnitude[target], factor])
    spread = b.op("Add", [radius[target], error])
    b.output(b.op("Sub", [centre[target], spread]), "lower")
    b.output(b.op("Add", [centre[target], spread]), "upper")
    b.output(magnitude[target], "magnitude")
    return b.build("interval")
