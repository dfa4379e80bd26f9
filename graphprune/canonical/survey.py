"""All that keeps a file from being read, not only the first thing met.

Nodes are lowered as in loading. Where one is refused a stand-in of its shape takes the place of its
output, so that what lies above is looked at too; where no shape is known, operators without a rule
are named still.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from graphprune.canonical import rules
from graphprune.canonical.batch import said_of_any, unbound
from graphprune.canonical.context import RULES, Context, Tracked, describe, name_of, rule_key
from graphprune.canonical.finite import not_finite
from graphprune.canonical.fold import SHAPES
from graphprune.canonical.heads import Head, choose
from graphprune.canonical.legalise import Begun, batch_name, begin, finish, lower
from graphprune.canonical.outputs import float_outputs
from graphprune.canonical.refusals import folds, reason
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.ir.load import ModelFile
from graphprune.ir.shapes import declared, inputs_of
from graphprune.ir.source import Layout
from graphprune.operators import Gather, Scale

# Sizes that dynamic axes are tried with, to look at the nodes above them.
GUESSES = (224, 32, 64, 28, 16, 8, 4, 2, 1)
# A group names so many of its nodes.
NAMED = 3


@dataclass(frozen=True)
class Refusal:
    """A node that is refused.

    Attributes
    ----------
    node
        Its name, or that of its first output.
    operator
        Its operator, with the domain where that is not ONNX's own.
    reason
        The cause, and the remedy.
    """

    node: str
    operator: str
    reason: str


@dataclass
class Survey:
    """Everything that keeps a file from being read.

    Attributes
    ----------
    causes
        Messages about the file as a whole: its inputs, outputs, numbers.
    nodes
        The refused nodes, by their description.
    """

    causes: dict[str, None] = field(default_factory=dict)
    nodes: dict[str, Refusal] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.causes) + len(self.nodes)

    @property
    def lines(self) -> list[str]:
        """Every cause, then every group of nodes of one operator with one reason."""
        groups: dict[tuple[str, str], list[str]] = {}
        for refusal in self.nodes.values():
            groups.setdefault((refusal.operator, refusal.reason), []).append(refusal.node)
        return [*self.causes, *(_line(*key, names) for key, names in groups.items())]

    def refuse(self, label: str, node: ir.Node, error: str) -> None:
        """Note what was said about a node; the first word counts."""
        said = describe(node)
        operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        text = error.removeprefix(f"{label}: ").removeprefix(f"{said}: ")
        self.nodes.setdefault(said, Refusal(name_of(node), operator, text))

    def say(self, label: str, error: GraphpruneError, batch: str = "N") -> None:
        """Note what was said about the file."""
        self.causes.setdefault(unbound(str(error).removeprefix(f"{label}: "), batch))


def _line(operator: str, reason: str, names: list[str]) -> str:
    """``Mul, 5 nodes ('a', 'b', 'c' and 2 more): the reason``."""
    listed = ", ".join(f"'{name}'" for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    count = "1 node" if len(names) == 1 else f"{len(names)} nodes"
    return f"{operator}, {count} ({listed}{more}): {reason}"


def survey(file: ModelFile, *, output: str | None = None) -> Survey:
    """All reasons to refuse a file; empty where it loads.

    Parameters
    ----------
    output
        The graph output to look at. By default the only one with scores; where several compete
        that is said, and all of them are looked at.

    Raises
    ------
    GraphpruneError
        There is no such output, or local functions cannot be inlined.
    """
    rules.install()
    found = Survey()
    for head in _heads(file, output, found):
        name = batch_name(head.proto)
        with said_of_any(name):
            begun = _begun(file, head, found, name)
        if begun is None:
            _by_operator(ir.from_proto(head.proto).graph, found, file.label)
            continue
        before, context = len(found), begun.context
        read = _lower_all(file, begun, found, name)
        if head.scores in context.tracked:
            read.append(context.tracked[head.scores].value)
        for error in not_finite(context, _below(read)):
            found.say(file.label, error)
        try:
            if len(found) == before:
                finish(file, head, begun)
        except GraphpruneError as error:
            found.say(file.label, error, name)
    return found


def _heads(file: ModelFile, output: str | None, found: Survey) -> Iterator[Head]:
    """The outputs to look at."""
    try:
        yield choose(file, output)
    except UnsupportedError as error:
        found.say(file.label, error)
        for name in float_outputs(file):
            yield choose(file, name)


def _begun(file: ModelFile, head: Head, found: Survey, name: str) -> Begun | None:
    """The legalisation; of an input with dynamic axes that of the first sizes that fit."""
    try:
        return begin(file, head)
    except GraphpruneError as error:
        found.say(file.label, error, name)
    inputs = inputs_of(head.proto.graph)
    if not any(None in declared(value)[1:] for value in inputs):
        return None
    for size in GUESSES:
        guessed = type(head.proto)()
        guessed.CopyFrom(head.proto)
        for value in inputs_of(guessed.graph):
            dims = value.type.tensor_type.shape.dim
            for axis, length in enumerate(declared(value)):
                if axis and length is None:
                    dims[axis].dim_value = size
        try:
            return begin(file, replace(head, proto=guessed))
        except GraphpruneError:
            continue
    return None


def _lower_all(file: ModelFile, begun: Begun, found: Survey, name: str) -> list[ir.Value]:
    """Lower every node, with stand-ins in the place of those that are refused.

    Returns
    -------
    list
        Canonical values that refused nodes read.
    """
    context, lost, read = begun.context, set[str](), list[ir.Value]()
    for node in begun.model.graph:
        outs = [str(out.name) for out in node.outputs]
        if lost.intersection(str(v.name) for v in node.inputs if v is not None):
            # Nothing is known of what it reads.
            if not _has_rule(node):
                found.refuse(file.label, node, reason(node.op_type, node.domain))
            lost.update(outs)
            continue
        try:
            lower(context, node)
        except GraphpruneError as error:
            found.refuse(file.label, node, unbound(str(error), name))
            names = [str(v.name) for v in node.inputs if v is not None]
            read += [context.tracked[name].value for name in names if name in context.tracked]
            for out in node.outputs:
                layout = _layout(context, out)
                if layout is None:
                    lost.add(str(out.name))
                else:
                    context.tracked[str(out.name)] = _stand_in(context, layout)
    return read


def _layout(context: Context, value: ir.Value) -> Layout | None:
    """The layout that a value has by its inferred shape; None where that is not known."""
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape.dims):
        return None
    shape = tuple(int(dim) for dim in value.shape.dims if isinstance(dim, int))
    if not all(shape):
        return None
    axes = [axis for axis, length in enumerate(shape) if length == context.batch_size]
    batch = axes[0] if axes and context.input.layout.batch is not None else None
    return Layout(shape, batch)


def _stand_in(context: Context, layout: Layout) -> Tracked:
    """Some value of this layout."""
    x = context.input
    flat = context.relayout(x, Layout((1, x.layout.size), 0))
    read = Gather(0, np.zeros(layout.size, np.int64), (x.layout.size,))
    wide = context.emit(read, flat, layout=Layout((1, layout.size), 0))
    value = context.relayout(wide, Layout((1, *layout.sample), 0))
    scaled = context.emit(Scale(np.array(0.5), layout.sample), value, layout=value.layout)
    return Tracked(scaled.value, layout)


def _below(values: list[ir.Value]) -> list[ir.Node]:
    """The canonical nodes that values hang on."""
    nodes: dict[ir.Node, None] = {}
    waiting = [value.producer() for value in values]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes:
            nodes[node] = None
            waiting += [value.producer() for value in node.inputs if value is not None]
    return list(nodes)


def _has_rule(node: ir.Node) -> bool:
    return node.op_type in SHAPES or rule_key(node.domain, node.op_type) in RULES


def _by_operator(graph: ir.Graph, found: Survey, label: str) -> None:
    """Refuse the nodes whose operator has no rule; constants are left aside."""
    constant = {str(name) for name in graph.initializers}
    for node in graph:
        inputs = [str(v.name) for v in node.inputs if v is not None]
        if folds(node.op_type, inputs, constant) or node.op_type in SHAPES:
            constant |= {str(v.name) for v in node.outputs}
        elif not _has_rule(node):
            found.refuse(label, node, reason(node.op_type, node.domain))
