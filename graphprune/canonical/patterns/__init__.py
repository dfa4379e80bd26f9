"""Activations that exporters write out in parts, put back together before rules look at nodes.

A pattern replaces the parts by one node of the operator they amount to; what the file's constants
say beyond that stands in attributes that begin with ``graphprune.``, which the rule reads.

Read first: ``algebra.py`` (numbers and polynomials in a graph), ``gelu.py``, ``choice.py``.
"""

import onnx_ir as ir

from graphprune.canonical.patterns import choice, gate, gelu, softplus


def recognise(model: ir.Model) -> None:
    """Replace written out activations of a graph by the operators they are."""
    computed = _computed(model.graph)
    # A chosen Softplus may itself be written out, and stand in a Mish.
    for pattern in (gelu.recognise, softplus.recognise, choice.recognise, gate.recognise):
        for node in tuple(model.graph):
            if node in computed and node.graph is not None and node.domain in ("", "ai.onnx"):
                pattern(model.graph, node)


def _computed(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that depend on the input; the others are folded."""
    known = {value for value in graph.inputs if value.name not in graph.initializers}
    found = set()
    for node in graph:
        if any(value in known for value in node.inputs):
            known.update(node.outputs)
            found.add(node)
    return found
