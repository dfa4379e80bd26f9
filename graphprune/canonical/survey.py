"""All nodes of a model that no rule knows, not only the first one met."""

import onnx_ir as ir

from graphprune.canonical import rules
from graphprune.canonical.context import RULES, describe, rule_key
from graphprune.canonical.fold import SHAPES
from graphprune.canonical.heads import choose
from graphprune.canonical.patterns import recognise
from graphprune.canonical.refusals import folds, reason
from graphprune.errors import UnsupportedError
from graphprune.ir.load import ModelFile


def unsupported(file: ModelFile, *, output: str | None = None) -> list[str]:
    """One line per node whose operator has no legalisation rule; constants are left aside."""
    rules.install()
    model = ir.from_proto(choose(file, output).proto)
    graph = model.graph
    lines = []
    try:
        recognise(model, file.label)
    except UnsupportedError as error:
        lines.append(str(error).removeprefix(f"{file.label}: "))
    constant = {str(name) for name in graph.initializers}
    for node in graph:
        inputs = [str(v.name) for v in node.inputs if v is not None]
        if folds(node.op_type, inputs, constant) or node.op_type in SHAPES:
            constant |= {str(v.name) for v in node.outputs}
        elif rule_key(node.domain, node.op_type) not in RULES:
            lines.append(f"{describe(node)}: {reason(node.op_type, node.domain)}")
    return lines
