"""Which value of a file is the logits: the output is chosen, what only reads off a class is cut.

Softmax and LogSoftmax keep the order of the classes, so metrics use the logits below them; so do
the pair (1 - s, s) of a sigmoid (:mod:`graphprune.canonical.binary`) and elementwise functions that
increase (:mod:`graphprune.canonical.increasing`). ArgMax, ZipMap, Normalizer (by L1 or L2) and the
label lookups of scikit-learn exports are dropped altogether.
"""

import logging
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from graphprune.canonical.binary import two_class
from graphprune.canonical.functions import inlined
from graphprune.canonical.increasing import INCREASING, attributes_of
from graphprune.canonical.linear_models import written_out
from graphprune.canonical.refusals import folds
from graphprune.canonical.unrolled import unrolled
from graphprune.errors import GraphpruneError, UnsupportedError, nearest
from graphprune.ir.external import is_outside
from graphprune.ir.load import ModelFile
from graphprune.ir.shapes import inputs_of
from graphprune.ir.source import HeadOperator, Layout
from graphprune.ir.trim import ending_at, reads

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


# Their outputs are an index, or true or false, whatever it is cast to afterwards.
DISCRETE = (
    "ArgMax", "ArgMin", "NonZero", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
    "And", "Or", "Xor", "Not", "IsNaN", "IsInf",
)  # fmt: skip
MOVES = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


class SeveralOutputsError(UnsupportedError):
    """Several outputs could be the scores.

    Attributes
    ----------
    names
        These outputs.
    """

    def __init__(self, message: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names


class PartialHeadError(UnsupportedError):
    """A Softmax or ArgMax above the scores runs over a part of them only."""


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
    kept
        The operators between them that a written file has again, from the scores upward.
    dropped
        Others between them change the values: a file's output is no function of `kept` alone.
    """

    proto: onnx.ModelProto
    scores: str
    output: str
    softmax: onnx.NodeProto | None
    argmax: onnx.NodeProto | None
    kept: tuple[HeadOperator, ...]
    dropped: bool


def choose(
    file: ModelFile, output: str | None = None, *, whole: bool = False, parts: bool = False
) -> Head:
    """Inline local functions, choose the output, cut its head and drop what it does not need.

    Parameters
    ----------
    output
        Name of the graph output to take; None takes the only one that holds float scores.
    whole
        Cut no function of every number, only what runs over the classes.
    parts
        Cut no Softmax: it runs over a part of the scores, as over the classes of each position.
    """
    proto = unrolled(written_out(inlined(file.proto, file.label)))
    graph = proto.graph
    names = [value.name for value in graph.output]
    if output is not None and output not in names:
        raise GraphpruneError(f"{file.label}: no output '{output}'{nearest(output, names)}")
    walker = _Walker(graph, whole, parts)
    found = {
        value.name: walker.walk(value)
        for value in graph.output
        if output is None or value.name == output
    }
    name = output or _score_output(file.label, graph, {n: cut.scores for n, cut in found.items()})
    cut = found[name]
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    if kinds[name] == onnx.TensorProto.BOOL and cut.argmax is None:
        raise UnsupportedError(
            f"{file.label}: the output '{name}' holds truths, which are no scores: end the model"
            " below the last comparison"
        )
    scores, softmax, kept = cut.scores, cut.softmax, cut.kept
    if not kept and (pair := two_class(proto, scores)) is not None:
        proto, scores, softmax = pair
        kept = (HeadOperator.of(softmax, over_classes=True),)
    short = ending_at(proto, scores)
    return Head(short, scores, name, softmax, cut.argmax, kept, cut.dropped)


def _constants(graph: onnx.GraphProto) -> set[str]:
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if folds(node.op_type, filter(None, node.input), constants):
            constants.update(node.output)
    return constants


def _varying(graph: onnx.GraphProto) -> set[str]:
    """Values that depend on an input, not only on its shape."""
    varying = {value.name for value in inputs_of(graph)}
    for node in graph.node:
        if node.op_type not in ("Shape", "Size") and not varying.isdisjoint(reads(node)):
            varying.update(node.output)
    return varying


def _discrete(graph: onnx.GraphProto) -> set[str]:
    """Values that hold indices or truth values, some of them cast to floats."""
    found: set[str] = set()
    for node in graph.node:
        if node.op_type in DISCRETE or (node.op_type in MOVES and node.input[0] in found):
            found.update(node.output)
        elif node.op_type == "TopK":
            found.update(node.output[1:])
    return found


def _score_output(label: str, graph: onnx.GraphProto, scores: dict[str, str]) -> str:
    """The output to take when none is named: no integers, constants, or labels cast to floats."""
    floats = [
        str(value.name)
        for value in graph.output
        if value.type.tensor_type.elem_type in (0, *FLOATS)
    ]
    copies = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    for name, below in scores.items():
        while below in copies:
            below = copies[below]
        scores[name] = below
    if len({scores[name] for name in floats}) > 1:
        varying = _varying(graph)
        floats = [name for name in floats if name in varying] or floats
        discrete = _discrete(graph)
        floats = [name for name in floats if name not in discrete] or floats
    candidates = floats or list(scores)
    if len({scores[name] for name in candidates}) != 1:
        listed = ", ".join(f"'{name}'" for name in candidates)
        raise SeveralOutputsError(
            f"{label}: several outputs could be the scores ({listed}); name one with `output=NAME`",
            tuple(candidates),
        )
    if len(scores) > 1:
        log.info("%s: output '%s' is taken, of %s", label, candidates[0], ", ".join(scores))
    return candidates[0]


@dataclass(frozen=True, eq=False)
class _Cut:
    """A value below a graph output, and what lies between (see `Head`)."""

    scores: str
    softmax: onnx.NodeProto | None = None
    argmax: onnx.NodeProto | None = None
    kept: tuple[HeadOperator, ...] = ()
    dropped: bool = False


class _Walker:
    """Goes down from a graph output while the order of the classes stays the same."""

    def __init__(self, graph: onnx.GraphProto, whole: bool, parts: bool) -> None:
        self.whole = whole
        self.softmax = () if parts else SOFTMAX
        self.producers = {out: node for node in graph.node for out in node.output}
        self.constants = _constants(graph)
        self.tensors = {t.name: t for t in graph.initializer if not is_outside(t)}
        self.tensors |= {
            node.output[0]: attribute.t
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        }

    def walk(self, value: onnx.ValueInfoProto) -> _Cut:
        """The scores below a graph output."""
        is_label = value.type.tensor_type.elem_type not in (0, *FLOATS)
        name, scores = value.name, value.name
        softmax: onnx.NodeProto | None = None
        argmax: onnx.NodeProto | None = None
        kept: list[HeadOperator] = []
        # Two decreasing functions make an increasing one: the sign of those met so far. Sums and
        # products with a scalar count only where a function below them is cut.
        sign, curved, dropped = 1, False, False
        # Cuts of a label count only once its ArgMax is met: a Cast alone rounds scores.
        settled = _Cut(scores)
        while (node := self.producers.get(name)) is not None:
            step = self._scalar(node)
            if node.op_type in self.softmax and softmax is None and sign > 0:
                softmax, curved = node, True
                kept.append(HeadOperator.of(node, over_classes=True))
            elif step:
                sign *= step
                kept.append(HeadOperator.of(node, self._operands(node)))
                curved |= node.op_type in INCREASING and node.op_type != "Neg"
            elif node.op_type not in KEEP_ORDER and not (
                _normalises(node) or (is_label and node.op_type in LABEL)
            ):
                break
            else:
                curved |= node.op_type != "Identity"
                dropped |= node.op_type not in KEEP_ORDER
            computed = [i for i in node.input if i and i not in self.constants]
            if len(computed) != 1:
                break
            if node.op_type == "ArgMax":
                is_label, argmax = False, node
            name = computed[0]
            scores = scores if node.op_type == "Identity" else name
            if not is_label and sign > 0 and curved:
                settled = _Cut(scores, softmax, argmax, tuple(reversed(kept)), dropped)
                curved = False
        return settled

    def _scalar(self, node: onnx.NodeProto) -> int:
        """1 or -1 where a node is an increasing or decreasing function of every number, else 0."""
        if self.whole and node.op_type != "Log":
            return 0
        known = INCREASING.get(node.op_type)
        if node.op_type == "Log":
            # There is no logarithm where the value below may be negative.
            below = self.producers.get(node.input[0])
            inner = None if below is None or self.whole else INCREASING.get(below.op_type)
            fits = (inner is not None and inner.positive) or (
                below is not None and below.op_type == "Softmax"
            )
            return int(fits)
        if known is not None and node.domain in ("", "ai.onnx"):
            return known.sign if known.applies(attributes_of(node)) else 0
        numbers = [c for c in self._operands(node) if c is not None]
        if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(numbers) != 1:
            return 0
        number, first = numbers[0], self._operands(node)[0] is not None
        if number.size != 1 or number.ndim > 1 or not np.isfinite(number).all():
            return 0
        if node.op_type in ("Mul", "Div"):
            fits = not (node.op_type == "Div" and first)
            return int(np.sign(number.reshape(-1)[0])) if fits else 0
        return -1 if node.op_type == "Sub" and first else 1

    def _operands(self, node: onnx.NodeProto) -> tuple[NDArray[np.generic] | None, ...]:
        """A node's inputs: their numbers where they are constants of the file, else None."""
        found = [self.tensors.get(i) for i in node.input]
        return tuple(None if t is None else numpy_helper.to_array(t) for t in found)


def _normalises(node: onnx.NodeProto) -> bool:
    """True where a node divides a sample's scores by a positive number."""
    # By the maximum, its default, is by a negative number where all scores are negative.
    return node.op_type == "Normalizer" and any(
        a.name == "norm" and a.s in (b"L1", b"L2") for a in node.attribute
    )


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
        raise PartialHeadError(
            f"{label}: node '{name}' ({node.op_type}): runs over axis {axis} of {layout.shape},"
            " not over all classes: end the model below it"
        )
