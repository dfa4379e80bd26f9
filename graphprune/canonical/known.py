"""Constants and shapes of a file's graph, before it is lowered, that hold for a batch of any size.

Numbers that a file computes from the size of its batch are not settled by one size, nor by three
that agree (``N == 4``): the numbers that they are computed from have to agree. So constants for
three sizes are computed side by side, and those more than chosen from numbers that differ are left
out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from graphprune.canonical.batch import OTHER_BATCH, SYMBOLIC_BATCH
from graphprune.canonical.evaluate import Array, evaluate
from graphprune.canonical.refusals import RANDOM

# Sizes of a batch that may be any: the length of an axis on which they agree is that of any other.
BATCHES = (1, SYMBOLIC_BATCH, OTHER_BATCH)
# Constants that are looked at hold no more numbers.
SMALL = 4096
# Operators that choose and move numbers of their first input, and compute none.
MOVING = (
    "Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze",
)  # fmt: skip
# Domain of ONNX's own operators.
OWN = ("", "ai.onnx")
# The shapes of all values; None: not known.
Sizes = Mapping[str, tuple[int, ...] | None]


@dataclass(frozen=True)
class Facts:
    """Shapes and types of a graph's values.

    Attributes
    ----------
    shapes
        By name, for each of `BATCHES`.
    types
        Element types by name.
    """

    shapes: tuple[Sizes, ...]
    types: Mapping[str, int]

    @classmethod
    def of(cls, proto: onnx.ModelProto) -> "Facts":
        """Infer them."""
        inferred = [_inferred(proto, size) for size in BATCHES]
        stored = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
        return cls(
            tuple({**stored, **{v.name: _shape(v) for v in values}} for values in inferred),
            {value.name: value.type.tensor_type.elem_type for value in inferred[0]},
        )

    def length(self, name: str, axis: int) -> int | None:
        """The length of an axis, where it is the same for every batch."""
        found = set()
        for shapes in self.shapes:
            shape = shapes.get(name)
            if shape is None or not -len(shape) <= axis < len(shape):
                return None
            found.add(shape[axis])
        return found.pop() if len(found) == 1 else None


def constants_of(
    proto: onnx.ModelProto, wanted: Collection[str], facts: Facts | None = None
) -> dict[str, Array]:
    """Those of the wanted values that are constants, whatever the size of the batch."""
    needed, nodes = set(wanted), []
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            if node.op_type != "Shape":
                needed.update(node.input)
    stored = _stored(proto, needed)
    known = [dict(stored) for _ in BATCHES]
    shapes = (facts or Facts.of(proto)).shapes if nodes else ()
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    for node in reversed(nodes):
        if node.op_type != "Shape" and not _of_any_batch(node, known):
            continue
        for constants, sizes in zip(known, shapes, strict=True):
            constants.update(_values(node, constants, sizes, opsets))
    return {name: known[0][name] for name in wanted if _agreed(name, known)}


def _stored(proto: onnx.ModelProto, names: Collection[str]) -> dict[str, Array]:
    """The small ones of the stored tensors."""
    return {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in proto.graph.initializer
        if tensor.name in names and np.prod(tensor.dims) <= SMALL
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
    if node.domain in OWN and node.op_type in MOVING:
        joined = node.input if node.op_type == "Concat" else node.input[:1]
        return all(_agreed(name, known) for name in {*node.input} - {*joined} if name)
    if node.op_type == "Size" and node.input[0] in known[0]:  # of a shape it is the rank
        return len({constants[node.input[0]].size for constants in known}) == 1
    return all(_agreed(name, known) for name in node.input if name)


def _inferred(proto: onnx.ModelProto, batch: int) -> list[onnx.ValueInfoProto]:
    """All values with their types, for a batch of this size."""
    bound = onnx.ModelProto()
    bound.CopyFrom(proto)
    for value in bound.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value <= 0:
            dims[0].dim_value = batch
    del bound.graph.value_info[:]
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    known = _stored(proto, {name for node in proto.graph.node for name in node.input})
    while True:
        graph = onnx.shape_inference.infer_shapes(bound, data_prop=True).graph
        values = [*graph.input, *graph.value_info, *graph.output]
        shapes = {value.name: _shape(value) for value in values}
        # Inference follows few computations with shapes: their results are written down for it.
        asking = [n for n in bound.graph.node if any(shapes.get(o) is None for o in n.output)]
        if not asking:
            return values
        for node in bound.graph.node:
            if not any(out in known for out in node.output):
                known.update(_values(node, known, shapes, opsets))
        found = {name for node in asking for name in node.input if name in known}
        found -= {tensor.name for tensor in bound.graph.initializer}
        if not found:
            return values
        for node in bound.graph.node:  # a name has one maker
            node.output[:] = ["" if out in found else out for out in node.output]
        bound.graph.initializer.extend(
            onnx.numpy_helper.from_array(known[name], name) for name in sorted(found)
        )


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """A shape that is known altogether."""
    tensor = value.type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    return tuple(dims) if tensor.HasField("shape") and all(n > 0 for n in dims) else None


def _has_graphs(node: onnx.NodeProto) -> bool:
    return any(attribute.HasField("g") for attribute in node.attribute)


def _values(
    node: onnx.NodeProto,
    known: dict[str, Array],
    shapes: Sizes,
    opsets: dict[str, int],
) -> dict[str, Array]:
    """Outputs of a node of small constants, or of the shape of a value; none of any other."""
    if node.op_type == "Shape" and node.domain in OWN:
        shape = shapes.get(node.input[0])
        if shape is None:
            return {}
        ends = {a.name: a.i for a in node.attribute}
        part = shape[ends.get("start", 0) : ends.get("end", len(shape))]
        return {node.output[0]: np.array(part, np.int64)}
    feeds = {name: known[name] for name in node.input if name in known}
    if len(feeds) < len({*filter(None, node.input)}) or _has_graphs(node) or node.op_type in RANDOM:
        return {}
    sizes = [prod(shape) for out in node.output if (shape := shapes.get(out)) is not None]
    if max(sizes, default=0) > SMALL:
        return {}
    try:
        results = evaluate(node, opsets, feeds, lambda: feeds)
    except Exception:  # a constant that nobody can compute is none
        return {}
    return dict(zip(node.output, results, strict=True))
