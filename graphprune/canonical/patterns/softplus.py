"""Softplus, written as log(1 + exp(x)); PyTorch's choice of x above a threshold is kept as such."""

import onnx_ir as ir

from graphprune.canonical.patterns.algebra import scalar, substitute


def recognise(graph: ir.Graph, node: ir.Node) -> None:
    """Replace log(1 + exp(x))."""
    total = node.inputs[0].producer() if node.op_type == "Log" and node.inputs[0] else None
    if total is None or total.op_type != "Add":
        return
    for one, power in (total.inputs, reversed(total.inputs)):
        exp = None if power is None else power.producer()
        if scalar(one) == 1.0 and exp is not None and exp.op_type == "Exp":
            substitute(graph, node, ir.node("Softplus", [exp.inputs[0]], name=node.name))
            return
