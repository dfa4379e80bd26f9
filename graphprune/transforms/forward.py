"""The forward pass: logits and, when asked, every pre-activation."""

from collections.abc import Iterable

import onnx_ir as ir
from numpy.typing import DTypeLike

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import BATCH, Network, data_inputs, operator, pre_activation

Values = dict[ir.Value, ir.Value]


def emit(b: GraphBuilder, nodes: Iterable[ir.Node], values: Values) -> None:
    """Add the forward operators of `nodes` to `b`; `values` maps canonical values to new ones."""
    for node in nodes:
        inputs = [values[v] for v in data_inputs(node)]
        values[node.outputs[0]] = operator(node).forward(b, *inputs)


def forward(network: Network, dtype: DTypeLike, *, record: bool = False) -> ir.Model:
    """Graph x (N, *sample) -> ``logits`` (N, classes) [, ``z0``, ``z1``, ... pre-activations].

    Parameters
    ----------
    dtype
        float32 for ONNX Runtime, float64 for the reference evaluator.
    record
        Also output the pre-activation of every activation, in graph order.
    """
    b = GraphBuilder(dtype)
    values: Values = {network.input: b.input("x", [BATCH, *network.input_shape])}
    emit(b, network.nodes, values)
    b.output(values[network.output], "logits")
    if record:
        for i, activation in enumerate(network.activations):
            b.output(values[pre_activation(activation)], f"z{i}")
    return b.build("forward")
