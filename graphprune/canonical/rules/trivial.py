"""Operators that do nothing at inference, and casts."""

import onnx
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import negate, total
from graphprune.functions import Floor
from graphprune.operators import Relu

FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
)
# Types between which casts keep whole numbers, truths among them, as they are.
WHOLE = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


@legalises("Identity")
def identity(context: Context, node: ir.Node) -> Tracked:
    """x."""
    return context.value(node, 0)


@legalises("Cast", "CastLike")
def cast(context: Context, node: ir.Node) -> Tracked:
    """x, where both types are floating point, or x is a whole number; floor(relu(x)) less
    floor(relu(-x)) where a whole number is made of another."""
    x = context.value(node, 0)
    kind = node.attributes.get_int("to", onnx.TensorProto.FLOAT)
    if node.op_type == "CastLike" and (like := node.inputs[1]) is not None:
        kind = onnx.TensorProto.FLOAT if like.dtype is None else int(like.dtype)
    given = None if node.inputs[0] is None else node.inputs[0].dtype
    if kind in FLOATS:
        return x
    if kind not in (int(WHOLE[0]), int(WHOLE[1])):
        name = onnx.TensorProto.DataType.Name(kind)
        raise context.fail(node, f"casts computed values to {name}, which rounds them")
    return x if given in WHOLE else _truncated(context, node, context.computed(node, 0))


def _truncated(context: Context, node: ir.Node, x: Tracked) -> Tracked:
    """The whole number next to x on the side of 0."""
    parts = []
    for side in (x, negate(context, node, x)):
        positive = context.emit(Relu(auxiliary=True), side, layout=x.layout)
        parts.append(context.emit(Floor(), positive, layout=x.layout))
    return total(context, node, parts[0], negate(context, node, parts[1]))


@legalises("Dropout")
def dropout(context: Context, node: ir.Node) -> Tracked:
    """x, at inference."""
    if context.has(node, 2) and bool(context.need_constant(node, 2, "training mode")):
        raise context.fail(node, "is in training mode; export the model with eval()")
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise context.fail(node, "its mask is used; export the model with eval()")
    return context.computed(node, 0)
