"""Which value of a file is the logits: the output is chosen, what only reads off a class is cut.

Softmax and LogSoftmax keep the order of the classes, so metrics use the logits below them; so does
the pair (1 - s, s) of a sigmoid, see :mod:`graphprune.canonical.binary`. ArgMax, ZipMap, Normalizer
(by L1 or L2) and the label lookups of scikit-learn exports are dropped altogether.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import onnx

from graphprune.canonical.binary import two_class
from graphprune.canonical.functions import inlined
from graphprune.canonical.refusals import folds
from graphprune.errors import GraphpruneError, UnsupportedError, nearest
from graphprune.ir.load import ModelFile
from graphprune.ir.source import Layout

log = logging.getLogger("graphprune")

FLOATS = (
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
)
SOFTMAX = ("Softmax", "LogSoftmax")
# They rename or copy a sample's scores.
KEEP_ORDER = ("ZipMap", "Identity")
# With ArgMax they turn scores into a label.
LABEL = ("ArgMax", "ArrayFeatureExtractor", "LabelEncoder", "Cast", "Reshape", "Squeeze", "Gather")


@dataclass(frozen=True, eq=False)
class Head:
    """The chosen output and what was cut off above the logits.

    Attributes
    ----------
    proto
        The model that ends at `scores`: only what they need.
    scores
        The value that holds the logits.
    output
        The graph output that was chosen.
    softmax
        The Softmax or LogSoftmax between them, or None.
    argmax
        The ArgMax between them, or None.
    """

    proto: onnx.ModelProto
    scores: str
    output: str
    softmax: onnx.NodeProto | None
    argmax: onnx.NodeProto | None


def choose(file: ModelFile, output: str | None = None) -> Head:
    """Inline local functions, choose the output, cut its head and drop what it does not need.

    Parameters
    ----------
    output
        Name of the graph output to take; None takes the only one that holds float scores.
    """
    proto = inlined(file.proto, file.label)
    graph = proto.graph
    names = [value.name for value in graph.output]
    if output is not None and output not in names:
        raise GraphpruneError(f"{file.label}: no output '{output}'{nearest(output, names)}")
    producers = {out: node for node in graph.node for out in node.output}
    constants = _constants(graph)
    found = {
        value.name: _walk(value, producers, constants)
        for value in graph.output
        if output is None or value.name == output
    }
    name = output or _score_output(file.label, graph, {n: cut[0] for n, cut in found.items()})
    scores, softmax, argmax = found[name]
    if softmax is None and (pair := two_class(proto, scores)) is not None:
        proto, scores, softmax = pair
    return Head(_ending_at(proto, scores), scores, name, softmax, argmax)


def _constants(graph: onnx.GraphProto) -> set[str]:
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if folds(node.op_type, filter(None, node.input), constants):
            constants.update(node.output)
    return constants


def _score_output(label: str, graph: onnx.GraphProto, scores: dict[str, str]) -> str:
    """The output to take when none is named."""
    floats = [
        str(value.name)
        for value in graph.output
        if value.type.tensor_type.elem_type in (0, *FLOATS)
    ]
    candidates = floats or list(scores)
    if len({scores[name] for name in candidates}) != 1:
        listed = ", ".join(f"'{name}'" for name in candidates)
        raise UnsupportedError(
            f"{label}: several outputs could be the scores ({listed});"
            " name one: --output NAME, or gp.load(path, output=NAME)"
        )
    if len(scores) > 1:
        log.info("%s: output '%s' is taken, of %s", label, candidates[0], ", ".join(scores))
    return candidates[0]


def _walk(
    value: onnx.ValueInfoProto, producers: dict[str, onnx.NodeProto], constants: set[str]
) -> tuple[str, onnx.NodeProto | None, onnx.NodeProto | None]:
    """(scores, softmax, argmax) below a graph output."""
    kind = value.type.tensor_type.elem_type
    is_label = kind not in (0, *FLOATS)
    name, softmax, argmax = value.name, None, None
    scores = name
    # What is cut of a label counts only once its ArgMax is met: a Cast alone rounds scores.
    settled: tuple[str, onnx.NodeProto | None] = (scores, softmax)
    while (node := producers.get(name)) is not None:
        if node.op_type in SOFTMAX and softmax is None:
            softmax = node
        elif not (
            node.op_type in KEEP_ORDER
            or _keeps_order(node, producers)
            or (is_label and node.op_type in LABEL)
        ):
            break
        computed = [i for i in node.input if i and i not in constants]
        if len(computed) != 1:
            break
        if node.op_type == "ArgMax":
            is_label, argmax = False, node
        name = computed[0]
        scores = scores if node.op_type == "Identity" else name
        if not is_label:
            settled = (scores, softmax)
    return *settled, argmax


def _keeps_order(node: onnx.NodeProto, producers: dict[str, onnx.NodeProto]) -> bool:
    """Whether a node divides a sample's scores by a positive number, or is the log of a Softmax."""
    if node.op_type == "Normalizer":
        # By the maximum, its default, is by a negative number where all scores are negative.
        return any(a.name == "norm" and a.s in (b"L1", b"L2") for a in node.attribute)
    below = producers.get(node.input[0]) if node.op_type == "Log" else None
    return below is not None and below.op_type == "Softmax"


def _ending_at(proto: onnx.ModelProto, scores: str) -> onnx.ModelProto:
    """A copy whose only output is `scores`, with what it does not need left out."""
    graph = proto.graph
    needed, nodes = {scores}, []
    for node in reversed(graph.node):
        if any(out in needed for out in node.output):
            nodes.append(node)
            needed |= set(_reads(node))
    trimmed = onnx.ModelProto()
    trimmed.CopyFrom(proto)
    short = trimmed.graph
    known = {value.name: value for value in (*graph.output, *graph.value_info)}
    if scores not in known:
        inferred = onnx.shape_inference.infer_shapes(proto)
        known |= {value.name: value for value in inferred.graph.value_info}
    result = known.get(scores, onnx.ValueInfoProto(name=scores))
    for field, kept in (
        ("node", nodes[::-1]),
        ("initializer", [t for t in graph.initializer if t.name in needed]),
        ("input", [v for v in graph.input if v.name in needed]),
        ("output", [result]),
    ):
        short.ClearField(field)
        getattr(short, field).extend(kept)
    return trimmed


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)


def check_axis(label: str, node: onnx.NodeProto, layout: Layout, opset: int) -> None:
    """Raise unless a Softmax or ArgMax runs over the whole class vector of each sample."""
    rank = len(layout.shape)
    default = 0 if node.op_type == "ArgMax" else 1 if opset < 13 else -1
    axis = next((a.i for a in node.attribute if a.name == "axis"), default) % max(rank, 1)
    # Before opset 13 a Softmax runs over all axes from `axis` on.
    every = node.op_type != "ArgMax" and opset < 13
    axes = list(range(axis, rank)) if every else [axis]
    covered = prod(layout.shape[a] for a in axes if a != layout.batch)
    if covered != layout.size or (layout.batch in axes and layout.shape[layout.batch or 0] != 1):
        name = node.name or node.output[0]
        raise UnsupportedError(
            f"{label}: node '{name}' ({node.op_type}): runs over axis {axis} of {layout.shape},"
            " not over all classes"
        )
