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


def emit_gradient(
    b: GraphBuilder,
    network: Network,
    values: Values,
    rows: ir.Value,
    recorded: Values | None = None,
) -> ir.Value:
    """Add the gradient (N, *sample) of <rows, f(x)> to `b`.

    Parameters
    ----------
    values
        The values that `emit` has made for the network's nodes.
    rows
        (N, classes).
    recorded
        Receives the gradient at the output of every activation that the rows reach.
    """
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
            if recorded is not None:
                recorded[out] = collected
            accumulate(b, sums, z, activation_of(node).derivative(b, values[z], collected))
    if network.input in sums:
        return sums[network.input]
    return b.op("Mul", [values[network.input], b.scalar(0.0)])


def gradient(network: Network, *, record: bool = False) -> ir.Model:
    """Graph x (N, *sample), rows (N, classes) -> logits, gradient of <rows, f(x)> (N, *sample).

    With `record`, also the gradients ``a0``, ``a1``, ... at every activation's output.
    """
    b = GraphBuilder("float32")
    values: Values = {network.input: b.input("x", [BATCH, *network.input_shape])}
    rows = b.input("rows", [BATCH, network.classes])
    emit(b, network.nodes, values)
    recorded: Values = {}
    slope = emit_gradient(b, network, values, rows, recorded)
    b.output(values[network.output], "logits")
    b.output(slope, "gradient")
    if record:
        for i, activation in enumerate(network.activations):
            out = activation.outputs[0]
            zero = b.op("Mul", [values[out], b.scalar(0.0)])
            # An output of the graph may not be an input of it (the rows, of a last activation).
            b.output(b.op("Add", [recorded[out], zero]) if out in recorded else zero, f"a{i}")
    return b.build("gradient")
