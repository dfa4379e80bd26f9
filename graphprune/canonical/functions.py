"""Local functions, written out in place."""

import onnx

from graphprune.errors import ModelError


def inlined(proto: onnx.ModelProto, label: str) -> onnx.ModelProto:
    """The model without local functions (checked not to be recursive when the file was read)."""
    if not proto.functions:
        return proto
    import onnx.inliner

    try:
        return onnx.inliner.inline_local_functions(proto)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{label}: its local functions cannot be inlined: {reason}") from None
