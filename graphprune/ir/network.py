"""The canonical network: affine operators and activations as an ONNX graph in float64.

Every node of the graph carries, in ``node.meta["operator"]``, the operator object that knows its
forward semantics, adjoint and absolute-value form. Everything else (gradients, intervals,
relaxations, rows for a solver) is derived from these by :mod:`graphprune.transforms`.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.source import Source
from graphprune.notebook import table

if TYPE_CHECKING:
    import networkx as nx

T = TypeVar("T")
Shape = tuple[int, ...]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# The words of an error where something else is given for one.
A_NETWORK = "a network, as of gp.load(path)"

BATCH = "N"
# Node of the segment graph for the output, which may be the value of an activation too.
LOGITS = "<logits>"


class Operator(Protocol):
    """The meaning of a node of a canonical graph."""

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        """Add the operator's one ONNX node to `b`; tensors are ``(N, *sample)``."""
        ...

    def output_shape(self, *shapes: Shape) -> Shape:
        """Sample shape of the output for these input sample shapes."""
        ...


@runtime_checkable
class AffineOperator(Operator, Protocol):
    """An operator that is one affine map of its inputs, sample by sample."""

    def linear(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        """`forward` without the offset."""
        ...

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        """Apply the transposed linear map to rows ``(M, *output sample)``; a result per input."""
        ...

    def absolute(self) -> "AffineOperator":
        """The same operator with the absolute values of its weights and offset."""
        ...

    @property
    def rounding(self) -> int:
        """Number of roundings an output or adjoint entry passes through (0: exact)."""
        ...

    @property
    def multiply_adds(self) -> int:
        """Multiplications with a weight for one sample (the cost model's unit)."""
        ...

    @property
    def parameters(self) -> int:
        """Number of stored weights and offsets."""
        ...

    def reads(self, used: Bools) -> tuple[Bools, ...]:
        """Per input, the flat mask of elements that can influence the `used` output elements."""
        ...


@runtime_checkable
class Activation(Operator, Protocol):
    """A scalar activation, applied element by element."""

    @property
    def auxiliary(self) -> bool:
        """Legalisation made it: its neurons are none of the source network."""
        ...

    @property
    def piecewise_linear(self) -> bool:
        """Linear on either side of 0, 0 below it: a neuron may be stable."""
        ...

    def value(self, z: Floats) -> Floats:
        """The activation in float64."""
        ...

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        """`rows` times the derivative at pre-activation `z` (a subgradient where it has none)."""
        ...

    def slope_range(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """The least and the largest derivative on [lower, upper]."""
        ...

    def undefined(self, lower: Floats, upper: Floats) -> Bools:
        """True where the activation has no value somewhere in [lower, upper]."""
        ...

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """Image of [lower, upper], rounded outward where it is not exact."""
        ...

    def lines(
        self, lower: Floats, upper: Floats, method: str
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """(lower slope, lower offset, upper slope, upper offset) valid on [lower, upper].

        All four are float32 numbers, rounded so that the lines stay valid in real arithmetic. With
        the method `fan` a function may give several of them, along a new first axis: mixtures of
        neighbours are what an optimisation chooses from.
        """
        ...


@runtime_checkable
class Paired(Activation, Protocol):
    """A function of two values: neuron k of the first half and k of the second are a pair.

    Both outputs of a pair are half of the function's value, so that rows on them count by their
    mean. Its lines bound the sum of the two, where both have the same coefficient.
    """

    def reads(self, used: Bools) -> tuple[Bools, ...]:
        """The flat mask of neurons that can influence the `used` outputs."""
        ...

    def on_pairs(self, count: int) -> "Paired":
        """The same function of so many pairs."""
        ...


@dataclass(frozen=True, eq=False)
class Segment:
    """The affine map from the activations below to one pre-activation (or to the logits).

    Attributes
    ----------
    target
        The value the segment computes.
    sources
        The network input and/or activation outputs it reads, in graph order.
    nodes
        Affine nodes between them, in graph order.
    """

    target: ir.Value
    sources: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...]

    @property
    def rounding(self) -> int:
        return sum(affine(node).rounding + 1 for node in self.nodes)

    @property
    def multiply_adds(self) -> int:
        """Multiplications with a weight for one sample."""
        return sum(affine(node).multiply_adds for node in self.nodes)


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A canonical network; immutable by convention, rewrites make new ones.

    Attributes
    ----------
    model
        Canonical ``onnx_ir`` model in float64, batch first, one input, one output.
    source
        The model it speaks for: the loaded file, or the exported substitute.
    """

    model: ir.Model
    source: Source
    _cache: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def input(self) -> ir.Value:
        return self.model.graph.inputs[0]

    @property
    def output(self) -> ir.Value:
        """Logits (N, classes)."""
        return self.model.graph.outputs[0]

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample, the batch axis left out."""
        return sample_shape(self.input)

    @property
    def classes(self) -> int:
        """Number of logits."""
        return size(self.output)

    @cached_property
    def nodes(self) -> tuple[ir.Node, ...]:
        return tuple(self.model.graph)

    @cached_property
    def activations(self) -> tuple[ir.Node, ...]:
        """Activation nodes in graph order; layer 1 is ``activations[0]``."""
        return tuple(n for n in self.nodes if is_activation(operator(n)))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """One segment per activation, in graph order, then the one of the logits."""
        targets = [pre_activation(a) for a in self.activations]
        return tuple(self._segment(t) for t in [*targets, self.output])

    def _segment(self, target: ir.Value) -> Segment:
        stops = {id(a.outputs[0]) for a in self.activations} | {id(self.input)}
        needed, sources = {id(target)}, set()
        nodes: list[ir.Node] = []
        for node in reversed(self.nodes):
            out = id(node.outputs[0])
            if out in needed and out not in stops:
                nodes.append(node)
                needed |= {id(v) for v in data_inputs(node)}
        sources = needed & stops
        ordered = [self.input, *(a.outputs[0] for a in self.activations)]
        return Segment(target, tuple(v for v in ordered if id(v) in sources), tuple(nodes[::-1]))

    @cached_property
    def segment_graph(self) -> "nx.DiGraph[str]":
        """Directed graph over value names and `LOGITS`: an edge where a segment reads a source."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_node(str(self.input.name), kind="input")
        names = [str(a.outputs[0].name) for a in self.activations]
        for segment, name in zip(self.segments, [*names, LOGITS], strict=True):
            graph.add_node(name, segment=segment)
            graph.add_edges_from((str(source.name), name) for source in segment.sources)
        return graph

    @cached_property
    def _used(self) -> dict[int, Bools]:
        used = {id(self.output): np.ones(size(self.output), dtype=bool)}
        for node in reversed(self.nodes):
            mask = used.get(id(node.outputs[0]))
            if mask is None:
                continue
            op = operator(node)
            masks = op.reads(mask) if is_affine_operator(op) or is_paired(op) else (mask,)
            for value, reads in zip(data_inputs(node), masks, strict=True):
                used[id(value)] = used[id(value)] | reads if id(value) in used else reads
        return used

    def live(self, activation: ir.Node) -> Bools:
        """Flat mask of the neurons of `activation` that can influence the logits."""
        out, op = activation.outputs[0], operator(activation)
        used = self._used.get(id(out), np.zeros(size(out), dtype=bool))
        return op.reads(used)[0] if is_paired(op) else used

    @property
    def varies(self) -> bool:
        """True where the input can influence the logits."""
        return bool(np.any(self._used.get(id(self.input), False)))

    @cached_property
    def source_activations(self) -> tuple[ir.Node, ...]:
        """Activations of the source network; auxiliary ReLUs are left out."""
        return tuple(a for a in self.activations if not activation_of(a).auxiliary)

    def source_layers(self, layers: Iterable[int]) -> list[int]:
        """Indices into `activations` of the source network's layers (counted from 1)."""
        of_source = [i for i, a in enumerate(self.activations) if not activation_of(a).auxiliary]
        return [of_source[layer - 1] for layer in layers]

    @cached_property
    def piecewise_linear(self) -> bool:
        """True where every activation is piecewise linear."""
        return all(activation_of(a).piecewise_linear for a in self.activations)

    @cached_property
    def neurons(self) -> int:
        """Elements of all pre-activation tensors of the source network's activations."""
        return sum(size(a.outputs[0]) for a in self.source_activations)

    @cached_property
    def auxiliary_neurons(self) -> int:
        """Elements of the ReLUs that legalisation made (maxima, second ends of Clip)."""
        return sum(size(a.outputs[0]) for a in self.activations) - self.neurons

    @cached_property
    def live_neurons(self) -> int:
        """Source neurons that can influence the logits: what a substitute has left."""
        return int(sum(self.live(a).sum() for a in self.source_activations))

    @cached_property
    def parameters(self) -> int:
        """Number of stored weights and offsets."""
        return sum(affine(n).parameters for n in self.nodes if is_affine(n))

    @cached_property
    def multiply_adds(self) -> int:
        """Multiplications with a weight for one sample."""
        return sum(affine(n).multiply_adds for n in self.nodes if is_affine(n))

    def __repr__(self) -> str:
        return f"<Network {self._summary}>"

    @property
    def _summary(self) -> str:
        name = self.source.path or self.model.graph.name or "network"
        return (
            f"{name}: input {self.input_shape}, {self.classes} classes, {self.neurons} neurons"
            f" ({self.live_neurons} living), {self.parameters} parameters"
        )

    def _repr_html_(self) -> str:
        """A table, which notebooks show."""
        rows = [
            (i + 1, type(operator(a)).__name__, sample_shape(a.outputs[0]), size(a.outputs[0]),
             int(self.live(a).sum()))
            for i, a in enumerate(self.activations)
        ]  # fmt: skip
        return table(("layer", "activation", "shape", "neurons", "living"), rows, self._summary)

    def cached(self, key: Hashable, make: Callable[[], T]) -> T:
        """Compute once per network: compiled transforms, rows, sessions."""
        if key not in self._cache:
            self._cache[key] = make()
        value: T = self._cache[key]
        return value

    def holds(self, key: Hashable) -> bool:
        """True where `cached` has computed it."""
        return key in self._cache

    def latest(self, key: Hashable, version: Hashable, make: Callable[[], T]) -> T:
        """As `cached`, of which one version alone is kept: what belongs to one anchor, say."""
        known = self._cache.get(key)
        if known is None or known[0] != version:
            known = self._cache[key] = (version, make())
        value: T = known[1]
        return value


def operator(node: ir.Node) -> Operator:
    op: Operator = node.meta["operator"]
    return op


# Looking through the members of a protocol is slow; they are those of the class.
_affine: dict[type, bool] = {}
_activations: dict[type, bool] = {}
_paired: dict[type, bool] = {}


def is_affine_operator(op: object) -> TypeGuard[AffineOperator]:
    """True of an operator that is affine."""
    kind = type(op)
    if kind not in _affine:
        _affine[kind] = isinstance(op, AffineOperator)
    return _affine[kind]


def is_affine(node: ir.Node) -> bool:
    return is_affine_operator(operator(node))


def affine(node: ir.Node) -> AffineOperator:
    op = operator(node)
    if not is_affine_operator(op):
        raise TypeError(f"node '{node.name}' is not affine")
    return op


def is_activation(op: object) -> TypeGuard[Activation]:
    """True of an operator that is an activation."""
    kind = type(op)
    if kind not in _activations:
        _activations[kind] = isinstance(op, Activation)
    return _activations[kind]


def is_paired(op: object) -> TypeGuard[Paired]:
    """True of an activation whose neurons come in pairs."""
    kind = type(op)
    if kind not in _paired:
        _paired[kind] = isinstance(op, Paired)
    return _paired[kind]


def interval_suffices(op: Operator) -> bool:
    """True of an activation whose pre-activation needs no better bounds than its interval image.

    It is a copy of values that have bounds, or its lines are exact everywhere.
    """
    return bool(getattr(op, "interval_suffices", False))


def jumps(op: Operator) -> bool:
    """True of an activation that is not continuous."""
    return bool(getattr(op, "jumps", False))


def activation_of(node: ir.Node) -> Activation:
    op = operator(node)
    if not is_activation(op):
        raise TypeError(f"node '{node.name}' is not an activation")
    return op


def data_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """The inputs of a node that are computed, not weights."""
    return tuple(v for v in node.inputs if v is not None and v.const_value is None)


def pre_activation(activation: ir.Node) -> ir.Value:
    return data_inputs(activation)[0]


def sample_shape(value: ir.Value) -> Shape:
    """Static shape of one sample of a canonical value."""
    if value.shape is None:
        raise TypeError(f"value '{value.name}' has no shape")
    return tuple(int(d) for d in value.shape.dims[1:] if isinstance(d, int))


def size(value: ir.Value) -> int:
    return prod(sample_shape(value))
