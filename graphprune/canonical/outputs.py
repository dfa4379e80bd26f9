"""Several outputs of a file as one vector, in their order."""

from collections.abc import Sequence
from dataclasses import replace

import onnx
from onnx import helper

from graphprune.canonical.functions import inlined
from graphprune.canonical.heads import FLOATS
from graphprune.canonical.names import fresh
from graphprune.ir.load import ModelFile

Shape = tuple[int | None, ...]


def float_outputs(file: ModelFile) -> dict[str, Shape]:
    """The outputs that hold floats, with their shapes; None: a length that is not known."""
    proto = file.proto
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(proto).graph.output}
    return {
        value.name: tuple(
            d.dim_value if d.HasField("dim_value") else None
            for d in known[value.name].type.tensor_type.shape.dim
        )
        for value in proto.graph.output
        if value.type.tensor_type.elem_type in FLOATS
    }


def joined(file: ModelFile, names: Sequence[str]) -> ModelFile:
    """The file with one output: those of `names` side by side, whose first axis is the batch."""
    proto = onnx.ModelProto()
    proto.CopyFrom(inlined(file.proto, file.label))
    graph = proto.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    flat = []
    for name in names:
        flat.append(fresh(f"{name}_flat", taken))
        taken.add(flat[-1])
        graph.node.append(helper.make_node("Flatten", [name], [flat[-1]], name=flat[-1], axis=1))
    result = fresh("_and_".join(names), taken)
    graph.node.append(helper.make_node("Concat", flat, [result], name=result, axis=1))
    kind = next(v.type.tensor_type.elem_type for v in graph.output if v.name == names[0])
    graph.ClearField("output")
    graph.output.append(helper.make_tensor_value_info(result, kind, None))
    return replace(file, proto=proto)
