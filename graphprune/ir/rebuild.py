"""Writing canonical networks: from nothing, or operator by operator from another network."""

from collections.abc import Callable, Iterable

import numpy as np
import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import (
    BATCH,
    Network,
    Operator,
    Shape,
    data_inputs,
    operator,
    sample_shape,
)

# New values by the old ones that they stand for.
Values = dict[ir.Value, ir.Value]


class NetworkBuilder:
    """Writes canonical graphs: `add` writes an operator's node and attaches the operator to it."""

    def __init__(self, input_name: str, input_shape: Shape) -> None:
        self.graph = GraphBuilder(np.float64)
        self.input = self.graph.input(input_name, [BATCH, *input_shape])

    def add(self, op: Operator, *inputs: ir.Value, name: str | None = None) -> ir.Value:
        before = len(self.graph.nodes)
        out = op.forward(self.graph, *inputs)
        if len(self.graph.nodes) != before + 1:
            # Written out in parts: here it is one node, which its operator speaks for.
            self._drop(self.graph.nodes[before:])
            del self.graph.nodes[before:]
            out = self.graph.op(type(op).__name__, inputs)
        node = self.graph.nodes[-1]
        node.meta["operator"] = op
        if name is not None:
            # The operator's own label is free again: rebuilding keeps all names.
            out.name = node.name = self.graph.renamed(str(out.name), name)
        out.type = ir.TensorType(self.graph.float_type)
        out.shape = ir.Shape([BATCH, *op.output_shape(*(sample_shape(v) for v in inputs))])
        return out

    @staticmethod
    def _drop(nodes: Iterable[ir.Node]) -> None:
        """Take nodes from the users of what they read."""
        for node in nodes:
            for i in range(len(node.inputs)):
                node.replace_input_with(i, None)

    def finish(self, output: ir.Value, name: str = "network") -> ir.Model:
        """The model with everything `output` does not need left out."""
        self.graph.outputs = [output]
        needed = {id(output)}
        kept: list[ir.Node] = []
        for node in reversed(self.graph.nodes):
            if id(node.outputs[0]) in needed:
                kept.append(node)
                needed |= {id(v) for v in node.inputs if v is not None}
        live = {id(n) for n in kept}
        self._drop([node for node in self.graph.nodes if id(node) not in live])
        self.graph.nodes = kept[::-1]
        self.graph.drop_constants(needed)
        return self.graph.build(name)


def rebuilt(network: Network, write: Callable[[NetworkBuilder], ir.Value]) -> Network:
    """A network with the input, metadata and source of `network`; `write` returns its output."""
    builder = NetworkBuilder(str(network.input.name), network.input_shape)
    model = builder.finish(write(builder), network.model.graph.name or "network")
    describe_as(model, network.model)
    return Network(model, network.source)


def describe_as(model: ir.Model, other: ir.Model) -> None:
    """Give a model what another one says of itself: notes, producer, version, documentation."""
    model.metadata_props.update(other.metadata_props)
    model.producer_name, model.producer_version = other.producer_name, other.producer_version
    model.domain, model.model_version = other.domain, other.model_version
    model.doc_string, model.graph.doc_string = other.doc_string, other.graph.doc_string


def map_operators(
    network: Network,
    change: Callable[[NetworkBuilder, ir.Node, Values], ir.Value | None],
    nodes: Iterable[ir.Node] | None = None,
    finish: Callable[[NetworkBuilder, ir.Value], ir.Value] = lambda _, output: output,
) -> Network:
    """Write a network anew, operator by operator.

    Parameters
    ----------
    change
        Adds what stands for a node, given the new values of what lies below it, and returns the
        new value of the node's output; None copies the node.
    nodes
        The nodes to write, in graph order; all of them unless named.
    finish
        Adds what comes above the output's new value, and returns the new output.
    """

    def write(builder: NetworkBuilder) -> ir.Value:
        values: Values = {network.input: builder.input}
        for node in network.nodes if nodes is None else nodes:
            out = node.outputs[0]
            new = change(builder, node, values)
            if new is None:
                inputs = [values[v] for v in data_inputs(node)]
                new = builder.add(operator(node), *inputs, name=out.name)
            values[out] = new
        return finish(builder, values[network.output])

    return rebuilt(network, write)
