"""Operators of the file that became several of the dialect, written as they were.

A MaxPool becomes a tree of ReLUs, a LeakyRelu two maps beside one: relaxations read nothing else,
but runtimes are slower on them. While no rewrite has touched such an *island*, which is seen by its
operators being the same objects joined alike, a written network has the file's operator again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import onnx
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked
from graphprune.canonical.evaluate import opened
from graphprune.ir.builder import OPSET, GraphBuilder
from graphprune.ir.export import register_written_form
from graphprune.ir.network import (
    BATCH,
    Activation,
    Network,
    data_inputs,
    operator,
    sample_shape,
)
from graphprune.ir.origin import between, form_of, is_form
from graphprune.ir.rebuild import NetworkBuilder, Values, map_operators
from graphprune.ir.source import FileNode, Island, Operand
from graphprune.operators import Reshape

# Operators below one that are written with it at most (a normalisation, and its scale).
NESTED = 2
# Points on which an operator and what it became are compared, fewer where they are large.
POINTS, NUMBERS = 64, 1 << 20
# Their largest difference, relative to the largest number.
CLOSE = 1e-5

# True where the written operator does what the island does; decided once.
_right: "WeakKeyDictionary[Island, bool]" = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class FileOperator:
    """An operator of the file; for networks that are written only.

    Attributes
    ----------
    shape
        The sample shape of the value that it computes.
    reshaped
        In the file its output has other axes.
    """

    island: Island
    shape: tuple[int, ...]

    @property
    def reshaped(self) -> bool:
        return self.island.shape != self.shape

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        # A node that reads a value twice has it twice among its inputs.
        every = self.island.names
        names = every if len(every) == len(inputs) else self.island.inputs
        y = _written(b, self.island, dict(zip(names, inputs, strict=True)))
        if not self.reshaped:
            return y
        return b.op("Reshape", [y, b.ints([-1, *self.shape])])

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return self.shape


def _written(b: GraphBuilder, one: FileNode, known: Mapping[str, ir.Value]) -> ir.Value:
    """An operator with those among its operands; `known` are the values by name."""
    operands: list[ir.Value | None] = []
    for given in one.operands:
        if isinstance(given, FileNode):
            operands.append(_written(b, given, known))
        elif isinstance(given, str):
            operands.append(known[given])
        else:
            operands.append(None if given is None else b.constant(given))
    return b.op(one.op_type, operands, one.attributes)


def islands_of(context: Context, nodes: Sequence[ir.Node], network: Network) -> tuple[Island, ...]:
    """The operators of a file that became several, some of which are activations.

    Parameters
    ----------
    context, nodes
        The legalisation, ended, and the file's nodes.
    network
        The result, simplified: what a name still stands for is the file's value.
    """
    values = {str(node.outputs[0].name): node.outputs[0] for node in network.nodes}
    values[str(network.input.name)] = network.input
    found = (_island(context, node, values, network) for node in nodes)
    return tuple(island for island in found if island is not None)


def _island(
    context: Context, node: ir.Node, values: Mapping[str, ir.Value], network: Network
) -> Island | None:
    result = context.tracked.get(str(node.outputs[0].name)) if node.outputs else None
    found = None if result is None else _file_node(context, node, values)
    if result is None or found is None:
        return None
    inputs = [values[name] for name in found.names]
    if not inputs or not _whole(result):
        return None
    # A reshape at its end may be one with those above it.
    last = result.value
    while str(last.name) not in values:
        node_below = last.producer()
        if node_below is None or not isinstance(operator(node_below), Reshape):
            return None
        if not (read := data_inputs(node_below)):  # nothing reads it, and it is gone
            return None
        last = read[0]
    made = between(network, output := values[str(last.name)], [*dict.fromkeys(inputs)])
    if made is None or len(made) < 2:
        return None
    if not any(isinstance(operator(one), Activation) for one in made):
        return None
    form = form_of(made, [*dict.fromkeys(inputs)])
    return Island(
        found.op_type, found.attributes, found.operands, str(output.name), result.layout.sample,
        form,
    )  # fmt: skip


def _file_node(
    context: Context, node: ir.Node, values: Mapping[str, ir.Value], below: int = NESTED
) -> FileNode | None:
    """An operator as the file has it, with operators below whose value the network has not."""
    if node.domain not in ("", "ai.onnx") or not _known(node, context.opset):
        return None
    operands: list[Operand] = []
    for value in node.inputs:
        name = "" if value is None else str(value.name)
        if value is None:
            operands.append(None)
        elif name not in context.tracked:
            if name not in context.constants:
                return None
            operands.append(context.constants[name])
        elif _plain(operand := context.tracked[name], values):
            operands.append(str(operand.value.name))
        else:
            producer = value.producer()
            nested = producer is not None and below > 0 and _whole(operand)
            if producer is None or not nested or producer.outputs[0] is not value:
                return None
            inner = _file_node(context, producer, values, below - 1)
            if inner is None:
                return None
            operands.append(inner)
    attributes = {a.name: a.value for a in node.attributes.values() if isinstance(a, ir.Attr)}
    return FileNode(node.op_type, attributes, tuple(operands))


def _plain(value: Tracked, values: Mapping[str, ir.Value]) -> bool:
    """True of a value that the canonical network has as the file has it."""
    return _whole(value) and str(value.value.name) in values


def _whole(value: Tracked) -> bool:
    """True of a value whose canonical one has the same axes, or but for a reshape of the sample;
    numbers of cells are no whole numbers in a canonical file."""
    plain = value.number is None and value.absent is None and value.choice is None
    return plain and value.layout.batch == 0


def _known(node: ir.Node, opset: int) -> bool:
    """True where the opset that networks are written in has the file's operator."""
    try:
        schema = onnx.defs.get_schema(node.op_type, min(opset, OPSET))
        later = onnx.defs.get_schema(node.op_type, OPSET)
    except Exception:  # a pattern's own name, or an operator of a later opset
        return False
    graphs = any(isinstance(a, ir.Attr) and a.type == ir.AttributeType.GRAPH
                 for a in node.attributes.values())  # fmt: skip
    return (
        not graphs and not schema.deprecated and all(a in later.attributes for a in node.attributes)
    )


@register_written_form(restores=True)
def with_file_operators(network: Network) -> Network:
    """The same function with the file's own operators where no rewrite has touched an island."""
    origin = network.source.origin
    if origin is None or not origin.islands:
        return network
    values = {str(node.outputs[0].name): node.outputs[0] for node in network.nodes}
    values[str(network.input.name)] = network.input
    restored: dict[ir.Node, tuple[Island, list[ir.Value]]] = {}
    for island in origin.islands:
        if island.output not in values or any(name not in values for name in island.inputs):
            continue
        inputs, output = [values[name] for name in island.inputs], values[island.output]
        made = between(network, output, inputs)
        if made and is_form(form_of(made, inputs), island.form):
            if island not in _right:
                _right[island] = _computes(island, made, inputs, network.source.dtype)
            if _right[island]:
                restored[made[-1]] = island, inputs

    def change(builder: NetworkBuilder, node: ir.Node, new: Values) -> ir.Value | None:
        if node not in restored:
            return None
        island, inputs = restored[node]
        op = FileOperator(island, sample_shape(node.outputs[0]))
        return builder.add(op, *(new[value] for value in inputs), name=node.outputs[0].name)

    return map_operators(network, change) if restored else network


def _computes(
    island: Island, made: Sequence[ir.Node], inputs: Sequence[ir.Value], dtype: np.dtype[Any]
) -> bool:
    """True where the operator, as it would be written, computes in a runtime what the nodes do."""
    b = GraphBuilder(np.float64 if dtype == np.float64 else np.float32)
    given = [b.input(f"x{i}", [BATCH, *sample_shape(v)]) for i, v in enumerate(inputs)]
    values = dict(zip(inputs, given, strict=True))
    for node in made:
        below = [values[v] for v in data_inputs(node)]
        values[node.outputs[0]] = operator(node).forward(b, *below)
    output = made[-1].outputs[0]
    b.output(values[output], "nodes")
    file = FileOperator(island, sample_shape(output))
    b.output(file.forward(b, *given), "operator")
    rng = np.random.default_rng(0)
    sizes = [int(np.prod(sample_shape(value))) for value in inputs]
    count = max(2, min(POINTS, NUMBERS // max(1, *sizes)))
    scale = rng.choice([0.1, 1.0, 10.0], size=count)
    points = [scale[:, None] * rng.normal(size=(count, n)) for n in sizes]
    feeds = {
        f"x{i}": x.reshape(count, *sample_shape(v)).astype(b.dtype)
        for i, (x, v) in enumerate(zip(points, inputs, strict=True))
    }
    try:
        proto = onnx.shape_inference.infer_shapes(ir.to_proto(b.build("island")))
        nodes, whole = opened(proto).run(None, feeds)
    except Exception:  # no kernel for it in this opset and type, or it needs a second output
        return False
    # ONNX's inference and the runtimes disagree about some windows (ceil_mode).
    known = {value.name: value for value in (*proto.graph.value_info, *proto.graph.output)}
    written = known[proto.graph.node[-2 - file.reshaped].output[0]]
    inferred = tuple(dim.dim_value for dim in written.type.tensor_type.shape.dim)
    same = nodes.shape == whole.shape and inferred[1:] == island.shape
    return same and bool(np.max(np.abs(nodes - whole)) <= CLOSE * (1.0 + np.max(np.abs(whole))))
