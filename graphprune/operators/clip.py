"""Clipping, the form in which hinges are written to files.

The dialect has ReLUs alone: max(x, l) is l + relu(x - l), min(x, h) is h - relu(h - x). In float32
x - l loses what is small beside l. So a ReLU knows the end that it stands for, and where a network
is written, which is where it runs in float32, the ends come back.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.export import register_written_form
from graphprune.ir.network import Network, Operator, data_inputs, operator, sample_shape
from graphprune.ir.rebuild import NetworkBuilder, Values, map_operators
from graphprune.operators.relu import Relu
from graphprune.operators.scale import Scale
from graphprune.operators.shift import Shift
from graphprune.operators.simplify import simplify


@dataclass(frozen=True)
class Clip:
    """min(max(x, low), high), infinite ends left out; for networks that are written only."""

    low: float = -np.inf
    high: float = np.inf

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        if self == Clip(low=0.0):
            return b.op("Relu", inputs)
        ends = [b.scalar(end) if np.isfinite(end) else None for end in (self.low, self.high)]
        return b.op("Clip", [inputs[0], *(ends if ends[1] is not None else ends[:1])])

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]


@register_written_form()
def with_clips(network: Network) -> Network:
    """The same function with every ReLU that stands for an end as a Clip at that end.

    relu(z) is max(z + l, l) - l, and h - min(h - z, h), whatever z is. The affine maps around it
    take up the ends, as they did when the file was read; two ends of one value become one Clip.
    """
    if not any(_end(operator(node)) is not None for node in network.nodes):
        return network
    return _joined(simplify(map_operators(network, _at_its_end)))


def without_ends(network: Network) -> Network:
    """The network with plain ReLUs, which are written as such: for tools that read no Clip."""
    if not any(_end(operator(node)) is not None for node in network.nodes):
        return network

    def change(builder: NetworkBuilder, node: ir.Node, values: Values) -> ir.Value | None:
        op, out = operator(node), node.outputs[0]
        if not isinstance(op, Relu) or op.end is None:
            return None
        return builder.add(Relu(op.auxiliary), values[data_inputs(node)[0]], name=out.name)

    return map_operators(network, change)


def _end(op: Operator) -> float | None:
    return op.end if isinstance(op, Relu) else None


def _at_its_end(builder: NetworkBuilder, node: ir.Node, values: Values) -> ir.Value | None:
    op = operator(node)
    if not isinstance(op, Relu) or op.end is None:
        return None
    shape, z = sample_shape(node.outputs[0]), values[data_inputs(node)[0]]
    sign, end = np.array(-1.0), np.array(op.end)
    if op.upper:
        x = builder.add(Shift(end, shape), builder.add(Scale(sign, shape), z))
        y = builder.add(Clip(high=op.end), x, name=node.outputs[0].name)
        return builder.add(Shift(end, shape), builder.add(Scale(sign, shape), y))
    x = builder.add(Shift(end, shape), z)
    y = builder.add(Clip(low=op.end), x, name=node.outputs[0].name)
    return builder.add(Shift(-end, shape), y)


def _joined(network: Network) -> Network:
    """One Clip where one reads the other alone."""
    readers: dict[ir.Value, list[ir.Node]] = {}
    for node in network.nodes:
        for value in data_inputs(node):
            readers.setdefault(value, []).append(node)
    joined: dict[ir.Node, Clip] = {}
    dropped: set[ir.Node] = set()
    for node in network.nodes:
        below = data_inputs(node)[0].producer() if data_inputs(node) else None
        if below is None or len(readers[data_inputs(node)[0]]) != 1:
            continue
        first, second = joined.get(below, operator(below)), operator(node)
        if isinstance(first, Clip) and isinstance(second, Clip):
            # min(max(x, l), h): the second end wins where they cross.
            low, high = max(first.low, second.low), min(first.high, second.high)
            if low <= high:
                joined[node] = Clip(low, high)
                dropped.add(below)

    def change(builder: NetworkBuilder, node: ir.Node, values: Values) -> ir.Value | None:
        if node in dropped:
            return values[data_inputs(node)[0]]
        if node not in joined:
            return None
        x = values[data_inputs(node)[0]]
        return builder.add(joined[node], x, name=node.outputs[0].name)

    return map_operators(network, change) if dropped else network
