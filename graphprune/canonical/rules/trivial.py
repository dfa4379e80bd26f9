"""Operators that do nothing at inference."""

import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises


@legalises("Identity")
def identity(context: Context, node: ir.Node) -> Tracked:
    return context.computed(node, 0)


@legalises("Dropout")
def dropout(context: Context, node: ir.Node) -> Tracked:
    if context.has(node, 2) and bool(context.need_constant(node, 2, "training mode")):
        raise context.fail(node, "is in training mode; export the model with eval()")
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise context.fail(node, "its mask is used; export the model with eval()")
    return context.computed(node, 0)
