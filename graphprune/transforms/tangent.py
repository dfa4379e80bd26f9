"""The linearisation of a network at a point: the affine map of its activation pattern.

Three graphs. :func:`linearise` is run once at a point and says what every activation does there;
:func:`tangent` and :func:`cotangent` then push directions up and rows down through that pattern.
For ReLU networks the linearisation is the network itself on the linear region of the point.
"""

from collections.abc import Iterable

import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import (
    BATCH,
    AffineOperator,
    Network,
    activation_of,
    affine,
    data_inputs,
    operator,
    pre_activation,
    sample_shape,
)
from graphprune.transforms.forward import Values, emit
from graphprune.transforms.gradient import accumulate
from graphprune.transforms.relaxation import ancestors


def linearise(network: Network) -> ir.Model:
    """Graph x (N, *sample), rows (N, classes) -> what the network does around x.

    Outputs: ``logits`` (N, classes); ``gradient`` (N, *sample) of <rows, f(x)>; and for every
    activation i, with its sample shape, ``z{i}`` the pre-activation, ``slope{i}`` its derivative
    there, ``weight{i}`` the derivative of <rows, f(x)> with respect to the activation's output.
    """
    b = GraphBuilder("float32")
    x = b.input("x", [BATCH, *network.input_shape])
    rows = b.input("rows", [BATCH, network.classes])
    values: Values = {network.input: x}
    emit(b, network.nodes, values)
    sums: Values = {network.output: rows}
    zero, one = b.scalar(0.0), b.scalar(1.0)
    index = {node: i for i, node in enumerate(network.activations)}
    for node in reversed(network.nodes):
        out = node.outputs[0]
        collected = sums.pop(out, None)
        op = operator(node)
        if isinstance(op, AffineOperator):
            if collected is not None:
                for value, part in zip(data_inputs(node), op.adjoint(b, collected), strict=True):
                    accumulate(b, sums, value, part)
            continue
        z = values[pre_activation(node)]
        if collected is None:
            collected = b.op("Mul", [values[out], zero])
        slope = activation_of(node).derivative(b, z, b.op("Add", [b.op("Mul", [z, zero]), one]))
        accumulate(b, sums, pre_activation(node), b.op("Mul", [slope, collected]))
        i = index[node]
        b.output(z, f"z{i}")
        b.output(slope, f"slope{i}")
        b.output(collected, f"weight{i}")
    b.output(values[network.output], "logits")
    gradient = sums.get(network.input)
    b.output(b.op("Mul", [x, zero]) if gradient is None else gradient, "gradient")
    return b.build("linearise")


def tangent(network: Network) -> ir.Model:
    """Graph direction (N, *sample), ``slope{i}`` (1, *sample_i) -> ``z{i}`` changes, ``logits``."""
    b = GraphBuilder("float32")
    values: Values = {network.input: b.input("direction", [BATCH, *network.input_shape])}
    slopes = _slopes(b, network, range(len(network.activations)))
    index = {node: i for i, node in enumerate(network.activations)}
    for node in network.nodes:
        inputs = [values[v] for v in data_inputs(node)]
        if node in index:
            b.output(inputs[0], f"z{index[node]}")
            values[node.outputs[0]] = b.op("Mul", [inputs[0], slopes[index[node]]])
        else:
            values[node.outputs[0]] = affine(node).linear(b, *inputs)
    b.output(values[network.output], "logits")
    return b.build("tangent")


def cotangent(network: Network, target: int) -> ir.Model:
    """Graph rows (R, *sample) on the target of segment `target`, slopes -> ``gradient``.

    ``gradient`` (R, *input sample) holds the rows of the linearisation, one per row; activations
    the segment does not depend on have no ``slope{i}`` input.
    """
    b = GraphBuilder("float32")
    top = network.segments[target].target
    rows = b.input("rows", ["R", *sample_shape(top)])
    below = ancestors(network, target)
    slopes = _slopes(b, network, below)
    index = {network.activations[i]: i for i in below}
    sums: Values = {top: rows}
    for node in reversed(network.nodes):
        if node.outputs[0] not in sums:
            continue
        collected = sums.pop(node.outputs[0])
        if node in index:
            part = b.op("Mul", [collected, slopes[index[node]]])
            accumulate(b, sums, pre_activation(node), part)
        else:
            parts = affine(node).adjoint(b, collected)
            for value, part in zip(data_inputs(node), parts, strict=True):
                accumulate(b, sums, value, part)
    b.output(sums[network.input], "gradient")
    return b.build("cotangent")


def _slopes(b: GraphBuilder, network: Network, indices: Iterable[int]) -> dict[int, ir.Value]:
    shapes = {i: sample_shape(network.activations[i].outputs[0]) for i in indices}
    return {i: b.input(f"slope{i}", [1, *shape]) for i, shape in shapes.items()}
