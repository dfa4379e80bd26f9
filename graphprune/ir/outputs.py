"""The other outputs of a file, beside what a network was rewritten to."""

import onnx
from onnx import compose, version_converter

from graphprune.errors import OutputError
from graphprune.ir.trim import ending_at

# Names of the file's values that the other outputs need.
PREFIX = "file/"


def with_other_outputs(
    written: onnx.ModelProto, file: onnx.ModelProto, taken: str
) -> onnx.ModelProto:
    """A written network with the file's other outputs, computed by the file's own nodes.

    Parameters
    ----------
    written
        The network, whose inputs are called as in the file.
    taken
        The output of the file that it computes.

    Raises
    ------
    OutputError
        The file's nodes cannot be written in the opset of the network's.
    """
    others = [value.name for value in file.graph.output if value.name != taken]
    if not others:
        return written
    rest = compose.add_prefix(
        ending_at(file, *others), PREFIX, rename_inputs=False, rename_outputs=False
    )
    opset = max(_opset(written), _opset(rest))
    both = onnx.ModelProto()
    both.CopyFrom(_converted(written, opset))
    rest = _converted(rest, opset)
    both.ir_version = max(both.ir_version, rest.ir_version)
    graph = both.graph
    graph.node.extend(rest.graph.node)
    graph.initializer.extend(rest.graph.initializer)
    graph.value_info.extend(rest.graph.value_info)
    both.functions.extend(rest.functions)
    known = {value.name for value in graph.input}
    graph.input.extend(value for value in rest.graph.input if value.name not in known)
    domains = {entry.domain for entry in both.opset_import}
    both.opset_import.extend(e for e in rest.opset_import if e.domain not in domains)
    # In the file's order, which callers may count on.
    outputs = {value.name: value for value in (*graph.output, *rest.graph.output)}
    graph.ClearField("output")
    graph.output.extend(outputs[value.name] for value in file.graph.output)
    return both


def _opset(proto: onnx.ModelProto) -> int:
    return next(int(e.version) for e in proto.opset_import if e.domain in ("", "ai.onnx"))


def _converted(proto: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    if _opset(proto) == opset:
        return proto
    try:
        return version_converter.convert_version(proto, opset)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise OutputError(
            f"the other outputs of the file cannot be kept, since its nodes cannot be written in"
            f" opset {opset} ({said}): export the model in that opset"
        ) from None
