"""Activations that exporters write out in parts: Gelu as p x (q + q erf(k x)).

With y = sqrt(2) k x this is (2 p q / (sqrt(2) k)) gelu(y), exactly, for the constants of the file.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import onnx_ir as ir

# Factors of a recognised Gelu: outer * gelu(inner * x).
INNER, OUTER = "graphprune.inner", "graphprune.outer"


@dataclass(frozen=True, eq=False)
class _Line:
    """offset + factor * base."""

    base: ir.Value
    factor: float
    offset: float


def recognise(model: ir.Model) -> None:
    """Replace written out activations of a graph by the operators they are."""
    for node in tuple(model.graph):
        if node.op_type == "Erf" and node.domain == "":
            _gelu(model.graph, node)


def _gelu(graph: ir.Graph, erf: ir.Node) -> None:
    argument = _line(erf.inputs[0])
    if argument is None or argument.offset != 0:
        return
    root = argument.base
    top = _line_above(erf.outputs[0])
    product = _only_user(top.base)
    if product is None or product.op_type != "Mul":
        return
    other = next((v for v in product.inputs if v is not top.base), None)
    side = _line(other)
    if side is None or side.base is not root or side.offset != 0 or top.factor != top.offset:
        return
    inner = sqrt(2.0) * argument.factor
    outer = 2.0 * side.factor * top.factor / inner
    new = ir.node("Gelu", [root], {INNER: inner, OUTER: outer}, name=product.name)
    out = new.outputs[0]
    old = product.outputs[0]
    ir.convenience.replace_nodes_and_values(graph, product, [product], [new], [old], [out])
    for node in (*_chain(erf.outputs[0], top.base), erf):
        if not any(out.uses() for out in node.outputs):
            graph.remove(node, safe=True)
    # What only the argument of erf needed may stay: it is legalised, and then dropped as dead.


def _scalar(value: ir.Value | None) -> float | None:
    """The number a constant of one element holds."""
    if value is None:
        return None
    tensor = value.const_value
    producer = value.producer()
    if tensor is None and producer is not None and producer.op_type == "Constant":
        attribute = producer.attributes.get("value")
        tensor = None if attribute is None else attribute.as_tensor()
    if tensor is None or tensor.size != 1:
        return None
    return float(np.asarray(tensor.numpy()).reshape(-1)[0].astype(np.float64))


def _step(node: ir.Node) -> tuple[ir.Value, float, float] | None:
    """(input, factor, offset) of a node that is a line of one value."""
    if len(node.inputs) != 2 or node.op_type not in ("Add", "Mul", "Div"):
        return None
    left, right = node.inputs
    a, b = _scalar(left), _scalar(right)
    if a is None and b is not None and left is not None:
        match node.op_type:
            case "Add":
                return left, 1.0, b
            case "Mul":
                return left, b, 0.0
            case _:
                return None if b == 0 else (left, 1.0 / b, 0.0)
    if a is not None and b is None and right is not None and node.op_type != "Div":
        return (right, 1.0, a) if node.op_type == "Add" else (right, a, 0.0)
    return None


def _line(value: ir.Value | None) -> _Line | None:
    """`value` as a multiple of the value below at most one scaling node."""
    if value is None:
        return None
    producer = value.producer()
    step = None if producer is None else _step(producer)
    if step is None or step[2] != 0:
        return _Line(value, 1.0, 0.0)
    return _Line(*step)


def _line_above(value: ir.Value) -> _Line:
    """The last of the line nodes above `value`, as a line of it."""
    line = _Line(value, 1.0, 0.0)
    while (user := _only_user(line.base)) is not None and (step := _step(user)) is not None:
        line = _Line(user.outputs[0], line.factor * step[1], line.offset * step[1] + step[2])
    return line


def _chain(bottom: ir.Value, top: ir.Value) -> list[ir.Node]:
    """The nodes between two values of a line, from the top down."""
    nodes = []
    while top is not bottom:
        node = top.producer()
        assert node is not None
        nodes.append(node)
        step = _step(node)
        assert step is not None
        top = step[0]
    return nodes


def _only_user(value: ir.Value) -> ir.Node | None:
    users = {usage.node for usage in value.uses()}
    return users.pop() if len(users) == 1 else None
