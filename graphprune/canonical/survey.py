"""All nodes of a model that no rule knows, not only the first one met."""

import onnx_ir as ir

from graphprune.canonical import rules
from graphprune.canonical.context import RULES, describe, rule_key
from graphprune.ir.load import ModelFile


def unsupported(file: ModelFile) -> list[str]:
    """One line per node whose operator has no legalisation rule; constants are left aside."""
    rules.install()
    graph = ir.from_proto(file.proto).graph
    constant = {str(name) for name in graph.initializers}
    lines = []
    for node in graph:
        inputs = [str(v.name) for v in node.inputs if v is not None]
        if all(name in constant for name in inputs) or node.op_type == "Shape":
            constant |= {str(v.name) for v in node.outputs}
        elif rule_key(node.domain, node.op_type) in RULES:
            continue
        elif node.domain not in ("", "ai.onnx"):
            lines.append(f"{describe(node)}: operators of domain '{node.domain}' are not supported")
        else:
            lines.append(f"{describe(node)}: operator is not supported")
    return lines
