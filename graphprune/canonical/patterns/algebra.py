"""Facts that patterns read from a graph: numbers, polynomials of one value, and comparisons."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.polynomial import polynomial as poly
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Neg", "Identity")
DEGREE = 3
# Parts of one activation nest this deep at most.
DEPTH = 10


def scalar(value: ir.Value | None) -> float | None:
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


def polynomial(value: ir.Value | None, root: ir.Value, depth: int = DEPTH) -> Floats | None:
    """Coefficients, constant first, of `value` as a polynomial of `root`; None where it is none."""
    if value is root:
        return np.array([0.0, 1.0])
    if (number := scalar(value)) is not None:
        return np.array([number])
    node = None if value is None else value.producer()
    if node is None or node.op_type not in ARITHMETIC or not depth:
        return None
    parts = []
    for below in node.inputs:
        part = polynomial(below, root, depth - 1)
        if part is None:
            return None
        parts.append(part)
    result = _apply(node.op_type, parts)
    return result if result is not None and len(result) <= DEGREE + 1 else None


def _apply(op_type: str, parts: list[Floats]) -> Floats | None:
    result: NDArray[np.floating]
    match op_type, parts:
        case "Identity", [a]:
            result = a
        case "Neg", [a]:
            result = -a
        case "Add", [a, b]:
            result = poly.polyadd(a, b)
        case "Sub", [a, b]:
            result = poly.polysub(a, b)
        case "Mul", [a, b]:
            result = poly.polymul(a, b)
        case "Div", [a, b] if len(b) == 1 and b[0] != 0:
            result = a / b[0]
        case "Pow", [a, b] if len(b) == 1 and b[0] in range(1, DEGREE + 1):
            result = poly.polypow(a, int(b[0]))
        case _:
            return None
    return np.asarray(poly.polytrim(result), dtype=np.float64)


def line(value: ir.Value | None, root: ir.Value) -> tuple[float, float] | None:
    """(offset, slope) of a value that is a line of `root`."""
    found = polynomial(value, root)
    if found is None or len(found) > 2:
        return None
    return float(found[0]), float(found[1]) if len(found) == 2 else 0.0


def multiple(value: ir.Value | None, root: ir.Value) -> float | None:
    """The factor of a value that is `root` times a number other than 0."""
    found = line(value, root)
    return found[1] if found is not None and found[0] == 0 and found[1] != 0 else None


def roots(value: ir.Value | None) -> Iterator[ir.Value]:
    """A value, then those below it that it is a line of."""
    while value is not None:
        yield value
        node = value.producer()
        if node is None or node.op_type not in ARITHMETIC:
            return
        computed = [below for below in node.inputs if scalar(below) is None]
        value = computed[0] if len(computed) == 1 and computed[0] is not None else None


def above(value: ir.Value) -> ir.Value:
    """The last value of the chain of lines above `value` that nothing else reads."""
    while True:
        users = {usage.node for usage in value.uses()}
        user = users.pop() if len(users) == 1 else None
        if user is None or line(user.outputs[0], value) is None:
            return value
        value = user.outputs[0]


def substitute(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    """Put `new` in the place of `old`, and drop what only `old` read."""
    waiting = [v.producer() for v in old.inputs if v is not None]
    ir.convenience.replace_nodes_and_values(
        graph, old, [old], [new], [old.outputs[0]], [new.outputs[0]]
    )
    while waiting:
        node = waiting.pop()
        if node is None or node.graph is None or any(_is_read(out) for out in node.outputs):
            continue
        below = [v.producer() for v in node.inputs if v is not None]
        graph.remove(node, safe=True)
        waiting += below


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()
