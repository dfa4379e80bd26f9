"""Activations the dialect has itself."""

import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.operators import Relu


@legalises("Relu")
def relu(context: Context, node: ir.Node) -> Tracked:
    x = context.computed(node, 0)
    return context.emit(Relu(), x, layout=x.layout, node=node)
