"""Models without what their outputs do not need."""

from collections.abc import Iterator

import onnx


def ending_at(proto: onnx.ModelProto, *outputs: str, keep_inputs: bool = False) -> onnx.ModelProto:
    """A copy with these values as its outputs, what they do not need left out.

    Parameters
    ----------
    keep_inputs
        Keep inputs that nothing reads: callers feed them.
    """
    graph = proto.graph
    needed, nodes = {*outputs}, []
    for node in reversed(graph.node):
        if any(out in needed for out in node.output):
            nodes.append(node)
            needed |= set(reads(node))
    trimmed = onnx.ModelProto()
    trimmed.CopyFrom(proto)
    short = trimmed.graph
    known = {value.name: value for value in (*graph.output, *graph.value_info)}
    if any(name not in known for name in outputs):
        inferred = onnx.shape_inference.infer_shapes(proto)
        known |= {value.name: value for value in inferred.graph.value_info}
    stored = {tensor.name for tensor in graph.initializer}
    made = {out for node in nodes for out in node.output}
    for field, kept in (
        ("node", nodes[::-1]),
        ("initializer", [t for t in graph.initializer if t.name in needed]),
        ("input", [v for v in graph.input
                   if v.name in needed or (keep_inputs and v.name not in stored)]),
        ("value_info", [v for v in graph.value_info if v.name in made]),
        ("output", [known.get(name, onnx.ValueInfoProto(name=name)) for name in outputs]),
    ):  # fmt: skip
        short.ClearField(field)
        getattr(short, field).extend(kept)
    return trimmed


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """The values that a node reads, those that its subgraphs read included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)
            yield from (value.name for value in graph.output)
