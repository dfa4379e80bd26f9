"""Local functions, and operators that ONNX defines by others, written out in place."""

import onnx

from graphprune.errors import ModelError

# Operators of the default domain that are written out as ONNX defines them.
DEFINED = ("Attention",)


def inlined(proto: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """The model without local functions (checked not to be recursive when the file was read), and
    without `DEFINED` operators."""
    defined = [node.op_type in DEFINED and not node.domain for node in proto.graph.node]
    if not proto.functions and not any(defined):
        return proto
    import onnx.inliner

    try:
        found = onnx.inliner.inline_local_functions(proto) if proto.functions else proto
        if not any(node.op_type in DEFINED and not node.domain for node in found.graph.node):
            return found
        # The definitions hang on the types of what they read.
        found = onnx.shape_inference.infer_shapes(found)
        known = {value.name for value in (*found.graph.input, *found.graph.value_info)}
        found.graph.value_info.extend(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            for tensor in found.graph.initializer
            if tensor.name not in known
        )
        return onnx.inliner.inline_selected_functions(
            found, [("", name) for name in DEFINED], inline_schema_functions=True
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{label}: its local functions cannot be inlined: {reason}") from None
