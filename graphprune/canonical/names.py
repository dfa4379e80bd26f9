"""Names in a graph of a file: those taken, free ones, and other ones."""

from collections.abc import Iterator, Mapping

import onnx


def names_of(graph: onnx.GraphProto) -> set[str]:
    """All names of values in a graph and in the graphs inside it."""
    return set(_names(graph))


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _names(inner)


def fresh(name: str, taken: set[str]) -> str:
    """Return the name, with underscores behind it until it is not taken."""
    while name in taken:
        name += "_"
    return name


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A node that reads and makes values by other names, graphs inside it too."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _rename(copy, names)
    return copy


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    for field in (node.input, node.output):
        field[:] = [names.get(name, name) for name in field]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _rename(inner, names)
            for value in graph.output:
                value.name = names.get(value.name, value.name)
