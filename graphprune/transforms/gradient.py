"""The adjoint of the whole network at a point: gradients without an autograd library."""

import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import (
    BATCH,
    AffineOperator,
    Network,
    activation_of,
    data_inputs,
    operator,
    pre_activation,
)
from graphprune.transforms.forward import Values, emit


def accumulate(b: GraphBuilder, sums: Values, value: ir.Value, rows: ir.Value) -> None:
    """Add `rows` to the adjoint collected at `value`."""
    sums[value] = b.op("Add", [sums[value], rows]) if value in sums else rows


def gradient(network: Network) -> ir.Model:
    """Graph x (N, *sample), rows (N, classes) -> logits, gradient of <rows, f(x)> (N, *sample)."""
    b = GraphBuilder("float32")
    x = b.input("x", [BATCH, *network.input_shape])
    rows = b.input("rows", [BATCH, network.classes])
    values: Values = {network.input: x}
    emit(b, network.nodes, values)
    sums: Values = {network.output: rows}
    for node in reversed(network.nodes):
        out = node.outputs[0]
        if out not in sums:
            continue
        op, collected = operator(node), sums.pop(out)
        if isinstance(op, AffineOperator):
            for value, part in zip(data_inputs(node), op.adjoint(b, collected), strict=True):
                accumulate(b, sums, value, part)
        else:
            z = pre_activation(node)
            accumulate(b, sums, z, activation_of(node).derivative(b, values[z], collected))
    b.output(values[network.output], "logits")
    if network.input in sums:
        b.output(sums[network.input], "gradient")
    else:
        b.output(b.op("Mul", [x, b.scalar(0.0)]), "gradient")
    return b.build("gradient")
