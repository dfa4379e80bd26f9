"""``If`` whose condition is a constant: the branch that is taken, in its place.

PyTorch exports ``squeeze`` as a choice by a size that is known. A condition that hangs on the size
of the batch stays, and is refused: other batches might take the other branch.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod

import numpy as np
import onnx

from graphprune.canonical.batch import OTHER_BATCH, SYMBOLIC_BATCH
from graphprune.canonical.evaluate import Array, evaluate
from graphprune.canonical.names import fresh, names_of, renamed
from graphprune.canonical.refusals import RANDOM

# Sizes of a batch that may be any: the length of an axis on which they agree is that of any other.
BATCHES = (1, SYMBOLIC_BATCH, OTHER_BATCH)
# Constants of a condition hold no more numbers.
SMALL = 4096
# Operators that choose and move numbers of their first input, and compute none.
MOVING = (
    "Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze",
)  # fmt: skip


def settled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every If whose condition is a constant replaced by the branch it takes."""
    while any(_is_if(node) for node in proto.graph.node):
        taken = _conditions(proto)
        if not taken:
            break
        proto = _with_branches(proto, taken)
    return proto


def _is_if(node: onnx.NodeProto) -> bool:
    return node.op_type == "If" and node.domain in ("", "ai.onnx")


def _conditions(proto: onnx.ModelProto) -> dict[str, bool]:
    """The conditions that are constants, whatever the size of the batch.

    That three sizes agree about a condition does not settle it (``N == 4``): the numbers that it is
    computed from have to agree. So the constants for the three are computed side by side, and what
    is more than chosen from numbers that differ is left out.
    """
    wanted = {node.input[0] for node in proto.graph.node if _is_if(node)}
    needed, nodes = set(wanted), []
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            if node.op_type != "Shape":
                needed.update(node.input)
    stored: dict[str, Array] = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
        if tensor.name in needed and np.prod(tensor.dims) <= SMALL
    }
    known = [dict(stored) for _ in BATCHES]
    shapes = [_shapes(proto, size) for size in BATCHES]
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    for node in reversed(nodes):
        if node.op_type != "Shape" and not _of_any_batch(node, known):
            continue
        for constants, sizes in zip(known, shapes, strict=True):
            constants.update(_values(node, constants, sizes, opsets))
    return {
        name: bool(known[0][name])
        for name in wanted
        if _agreed(name, known) and known[0][name].size == 1
    }


def _agreed(name: str, known: Sequence[Mapping[str, Array]]) -> bool:
    """True where a constant is the same for every size of the batch."""
    arrays = [constants.get(name) for constants in known]
    first = arrays[0]
    return first is not None and all(
        array is not None and np.array_equal(array, first) for array in arrays
    )


def _of_any_batch(node: onnx.NodeProto, known: Sequence[Mapping[str, Array]]) -> bool:
    """True where the elements on which a node's results agree are the same for every batch."""
    if node.domain in ("", "ai.onnx") and node.op_type in MOVING:
        joined = node.input if node.op_type == "Concat" else node.input[:1]
        return all(_agreed(name, known) for name in {*node.input} - {*joined} if name)
    if node.op_type == "Size" and node.input[0] in known[0]:  # of a shape it is the rank
        return len({constants[node.input[0]].size for constants in known}) == 1
    return all(_agreed(name, known) for name in node.input if name)


def _shapes(proto: onnx.ModelProto, batch: int) -> dict[str, tuple[int, ...] | None]:
    """The shapes of all values, for a batch of this size."""
    bound = onnx.ModelProto()
    bound.CopyFrom(proto)
    for value in bound.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value <= 0:
            dims[0].dim_value = batch
    del bound.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(bound, data_prop=True).graph
    return {v.name: _shape(v) for v in (*graph.input, *graph.value_info, *graph.output)}


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """A shape that is known altogether."""
    tensor = value.type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    return tuple(dims) if tensor.HasField("shape") and all(n > 0 for n in dims) else None


def _values(
    node: onnx.NodeProto,
    known: dict[str, Array],
    shapes: dict[str, tuple[int, ...] | None],
    opsets: dict[str, int],
) -> dict[str, Array]:
    """Outputs of a node of small constants, or of the shape of a value; none of any other."""
    if node.op_type == "Shape" and node.domain in ("", "ai.onnx"):
        shape = shapes.get(node.input[0])
        if shape is None:
            return {}
        ends = {a.name: a.i for a in node.attribute}
        part = shape[ends.get("start", 0) : ends.get("end", len(shape))]
        return {node.output[0]: np.array(part, np.int64)}
    feeds = {name: known[name] for name in node.input if name in known}
    if len(feeds) < len({*filter(None, node.input)}) or node.op_type in RANDOM or _is_if(node):
        return {}
    sizes = [prod(shape) for out in node.output if (shape := shapes.get(out)) is not None]
    if max(sizes, default=0) > SMALL:
        return {}
    try:
        results = evaluate(node, opsets, feeds, lambda: feeds)
    except Exception:  # a condition that nobody can compute stays one
        return {}
    return dict(zip(node.output, results, strict=True))


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
