"""``If`` whose condition is a constant: the branch that is taken, in its place.

PyTorch exports ``squeeze`` as a choice by a size that is known. A condition that hangs on the size
of the batch stays, and is refused: other batches might take the other branch.
"""

from collections.abc import Iterator

import onnx

from graphprune.canonical.known import OWN, constants_of
from graphprune.canonical.names import fresh, names_of, renamed


def settled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every If whose condition is a constant replaced by the branch it takes."""
    while any(_is_if(node) for node in proto.graph.node):
        taken = _conditions(proto)
        if not taken:
            break
        proto = _with_branches(proto, taken)
    return proto


def _is_if(node: onnx.NodeProto) -> bool:
    return node.op_type == "If" and node.domain in OWN


def _conditions(proto: onnx.ModelProto) -> dict[str, bool]:
    """The conditions that are constants, whatever the size of the batch."""
    wanted = {node.input[0] for node in proto.graph.node if _is_if(node)}
    found = constants_of(proto, wanted)
    return {name: bool(array) for name, array in found.items() if array.size == 1}


def _with_branches(proto: onnx.ModelProto, taken: dict[str, bool]) -> onnx.ModelProto:
    """The model with the branches in the place of these Ifs."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    graph = changed.graph
    names, called = names_of(graph), {node.name for node in graph.node}
    nodes: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        if not _is_if(node) or node.input[0] not in taken:
            nodes.append(node)
            continue
        side = "then_branch" if taken[node.input[0]] else "else_branch"
        branch = next(a.g for a in node.attribute if a.name == side)
        inner = [t.name for t in branch.initializer]
        inner += [out for below in branch.node for out in below.output if out]
        new = {name: fresh(name, names) for name in inner}
        names.update(new.values())
        for tensor in branch.initializer:
            copy = graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = new[tensor.name]
        for below in branch.node:
            nodes.append(renamed(below, new))
            if below.name:  # ONNX Runtime wants names of nodes to differ too
                nodes[-1].name = fresh(below.name, called)
                called.add(nodes[-1].name)
        nodes += _passed_on(node, [new.get(v.name, v.name) for v in branch.output])
    graph.ClearField("node")
    graph.node.extend(nodes)
    return changed


def _passed_on(node: onnx.NodeProto, results: list[str]) -> Iterator[onnx.NodeProto]:
    """The outputs of an If, which are these values of its branch."""
    for result, out in zip(results, node.output, strict=True):
        if out:
            yield onnx.helper.make_node("Identity", [result], [out], name=node.name or out)
