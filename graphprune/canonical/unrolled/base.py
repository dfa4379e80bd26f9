"""The driver of unrolling, and what writes the steps."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphprune.canonical.branches import settled
from graphprune.canonical.evaluate import Array
from graphprune.canonical.known import OWN, Facts, constants_of
from graphprune.canonical.memory import NODES
from graphprune.canonical.names import fresh, names_of, renamed

# The first opset whose arithmetic broadcasts as it does today.
BROADCASTS = 7


class StepWriter:
    """Writes nodes with names of their own into the place of one node.

    Parameters
    ----------
    proto
        The model that is written into; not changed.
    facts
        Its shapes and types.
    taken
        Names of values and nodes that are in use; those written are added.
    """

    def __init__(self, proto: onnx.ModelProto, facts: Facts, taken: set[str]) -> None:
        self.facts = facts
        self.proto = proto
        self.opset = next((o.version for o in proto.opset_import if o.domain in OWN), 0)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._taken = taken
        self._prefix, self._count = "", 0
        self._made: dict[object, str] = {}

    def begin(self, node: onnx.NodeProto) -> None:
        """Write in the place of this node from here on."""
        self._prefix = node.name or next(filter(None, node.output))
        self._made = {}
        self.nodes = []

    def name(self, end: str) -> str:
        """Return a free name, taken from now on."""
        self._count += 1
        found = fresh(f"{self._prefix}/{end}.{self._count}", self._taken)
        self._taken.add(found)
        return found

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add a node of one output; its name, or that of the same node written before."""
        key = (kind, inputs, repr(attributes))
        if not out and key in self._made:
            return self._made[key]
        self._made[key] = out = out or self.name(kind)
        self.nodes.append(
            helper.make_node(kind, list(inputs), [out], name=self.name("node"), **attributes)
        )
        return out

    def constant(self, array: Array) -> str:
        """Add a stored tensor; its name, or that of the same tensor stored before."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._made:
            self._made[key] = self.name("constant")
            self.tensors.append(numpy_helper.from_array(array, self._made[key]))
        return self._made[key]

    def number(self, value: float, like: str) -> str:
        """A stored number of the type of a value."""
        kind = self.facts.types.get(like) or onnx.TensorProto.FLOAT
        return self.constant(np.array(value, helper.tensor_dtype_to_np_dtype(kind)))

    def cell(self, value: str, index: int, axis: int) -> str:
        """One cell of an axis, which goes away."""
        return self.op("Gather", value, self.constant(np.array(index)), axis=axis)

    def cells(self, value: str, begin: int, end: int, axis: int) -> str:
        """A stretch of an axis."""
        return self.op("Gather", value, self.constant(np.arange(begin, end)), axis=axis)

    def stacked(self, values: Sequence[str], axes: Sequence[int], *, along: int, out: str) -> None:
        """Values with new axes of length 1, side by side along an axis of the result."""
        wide = [self._unsqueezed(value, axes) for value in values]
        self.op("Concat", *wide, axis=along, out=out)

    def _unsqueezed(self, value: str, axes: Sequence[int]) -> str:
        if self.opset < 13:
            return self.op("Unsqueeze", value, axes=list(axes))
        return self.op("Unsqueeze", value, self.constant(np.array(axes)))


# Writes what stands in the place of a node; False, with nothing written, where it cannot.
Unroll = Callable[[onnx.NodeProto, StepWriter], bool]
UNROLLED: dict[str, Unroll] = {}


def unrolls(op_type: str) -> Callable[[Unroll], Unroll]:
    """Decorator: how an operator of the default domain is written out.

    The first paragraph of the docstring is its algebra; docs/operators.md shows it.
    """

    def wrap(unroll: Unroll) -> Unroll:
        UNROLLED[op_type] = unroll
        return unroll

    return wrap


class Body:
    """A graph inside a node, written once for each of its steps.

    Parameters
    ----------
    graph
        The body; values of the graph around it are read by their names.
    writer
        Writes the steps.
    """

    def __init__(self, graph: onnx.GraphProto, writer: StepWriter) -> None:
        self.graph = graph
        self.writer = writer
        self.inputs = [value.name for value in graph.input]
        self._stored = {}
        for tensor in graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = self._stored[tensor.name] = writer.name(tensor.name)
            writer.tensors.append(copy)

    def step(self, values: Sequence[str]) -> list[str]:
        """Write the body for these inputs; the names of its outputs."""
        writer = self.writer
        names = {**self._stored, **dict(zip(self.inputs, values, strict=True))}
        made = [out for node in self.graph.node for out in node.output if out]
        names |= {name: writer.name(name) for name in made}
        for node in self.graph.node:
            writer.nodes.append(renamed(node, names))
            writer.nodes[-1].name = writer.name(node.name or node.op_type)
        return [names.get(value.name, value.name) for value in self.graph.output]


def install() -> None:
    """Import the operators' files, so that they register."""
    for name in ("gru", "loop", "lstm", "rnn", "scan"):
        import_module(f"graphprune.canonical.unrolled.{name}")


def unrolled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without choices of a constant condition and loops of a known length."""
    install()
    while True:
        proto = settled(proto)
        written = _round(proto)
        if written is None:
            return proto
        proto = written


def all_attributes(node: onnx.NodeProto) -> dict[str, object]:
    """Attributes by name; text in place of bytes."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: _text(value) for name, value in found.items()}


def _text(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    return [_text(one) for one in value] if isinstance(value, list) else value


def given(node: onnx.NodeProto, index: int) -> str:
    """The name of an (optional) input; empty where there is none."""
    return node.input[index] if index < len(node.input) else ""


def wanted(node: onnx.NodeProto, index: int) -> str:
    """The name of an (optional) output; empty where nobody reads it."""
    return node.output[index] if index < len(node.output) else ""


def constants(writer: StepWriter, names: Iterable[str]) -> Mapping[str, Array]:
    """Those of some values that are constants, as they are for every batch."""
    return constants_of(writer.proto, set(names), writer.facts)


def _written(node: onnx.NodeProto, writer: StepWriter) -> bool:
    """Write a node out; False where it cannot be, as in a file whose parts do not fit."""
    writer.begin(node)
    try:
        return UNROLLED[node.op_type](node, writer)
    except (ValueError, KeyError, IndexError, TypeError, AssertionError):
        return False


def _round(proto: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model with every operator written out that can be; None where none can."""
    own = [node.domain in OWN and node.op_type in UNROLLED for node in proto.graph.node]
    if not any(own):
        return None
    taken = names_of(proto.graph) | {node.name for node in proto.graph.node}
    writer = StepWriter(proto, Facts.of(proto), taken)
    if writer.opset < BROADCASTS:
        return None
    nodes, changed = [], False
    for node, ours in zip(proto.graph.node, own, strict=True):
        if ours and _written(node, writer):
            nodes += writer.nodes
            changed = True
        else:
            nodes.append(node)
        if len(nodes) > NODES:
            return None
    if not changed:
        return None
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    result.graph.ClearField("node")
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(writer.tensors)
    return result
