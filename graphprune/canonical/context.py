"""What a legalisation rule sees: constants, computed values with their layout, and `emit`."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.errors import UnsupportedError
from graphprune.ir.network import NetworkBuilder, Operator
from graphprune.ir.source import Layout
from graphprune.operators import Dense, Reshape, Transpose

Array = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Tracked:
    """A computed value: canonical in the new graph, laid out as `layout` in the file."""

    value: ir.Value
    layout: Layout


Rule = Callable[["Context", ir.Node], Tracked]
RULES: dict[str, Rule] = {}


def legalises(*op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
    """Decorator: the rule for these operators of a domain, ONNX's default one unless named."""

    def wrap(rule: Rule) -> Rule:
        for op_type in op_types:
            RULES[rule_key(domain, op_type)] = rule
        return rule

    return wrap


def rule_key(domain: str, op_type: str) -> str:
    """How `RULES` names an operator: ``domain::Operator``, the default domain left out."""
    return op_type if domain in ("", "ai.onnx") else f"{domain}::{op_type}"


class Context:
    """State of one legalisation.

    Parameters
    ----------
    label
        How messages name the model (its path).
    builder
        Receives the canonical operators.
    batch_size
        The size every batch axis was bound to.
    opset
        Opset of the default domain: attributes moved to inputs over the years.
    """

    def __init__(self, label: str, builder: NetworkBuilder, batch_size: int, opset: int) -> None:
        self.label = label
        self.builder = builder
        self.batch_size = batch_size
        self.opset = opset
        self.rounded_up = False
        self.constants: dict[str, Array] = {}
        self.tracked: dict[str, Tracked] = {}

    def fail(self, node: ir.Node, reason: str) -> UnsupportedError:
        """The error for `node`; rules raise it."""
        return UnsupportedError(f"{self.label}: {describe(node)}: {reason}")

    def constant(self, node: ir.Node, index: int) -> Array | None:
        """Input `index` as an array (floats in float64), or None when it is computed."""
        value = node.inputs[index]
        return None if value is None else self.constants.get(str(value.name))

    def has(self, node: ir.Node, index: int) -> bool:
        return index < len(node.inputs) and node.inputs[index] is not None

    def need_constant(self, node: ir.Node, index: int, what: str) -> Array:
        array = self.constant(node, index) if self.has(node, index) else None
        if array is None:
            raise self.fail(node, f"its {what} must be a constant, but it is computed or missing")
        return array

    def computed(self, node: ir.Node, index: int) -> Tracked:
        value = node.inputs[index]
        if value is None or str(value.name) not in self.tracked:
            raise self.fail(node, f"input {index} must be computed from the network's input")
        return self.tracked[str(value.name)]

    def emit(
        self, op: Operator, *inputs: Tracked, layout: Layout, node: ir.Node | None = None
    ) -> Tracked:
        name = None if node is None else node.outputs[0].name
        value = self.builder.add(op, *(t.value for t in inputs), name=name)
        return Tracked(value, layout)

    def batch_first(self, x: Tracked, node: ir.Node) -> Tracked:
        """`x` with its batch axis first; an absent batch may be adopted from a leading 1."""
        if x.layout.batch == 0:
            return x
        if x.layout.batch is None and x.layout.shape[:1] == (1,):
            layout = Layout(x.layout.shape, 0)
            return self.emit(Reshape(x.layout.sample, layout.sample), x, layout=layout)
        raise self.fail(node, "its input has no batch axis in front")

    def reshape(self, x: Tracked, shape: tuple[int, ...], node: ir.Node) -> Tracked:
        """Row-major reshape of the file's tensor to `shape`; finds where the batch axis goes."""
        layout = Layout(shape, self._batch_after_reshape(x.layout, shape, node))
        if layout.sample == x.layout.sample:
            return Tracked(x.value, layout)
        return self.emit(Reshape(x.layout.sample, layout.sample), x, layout=layout, node=node)

    def _batch_after_reshape(
        self, layout: Layout, shape: tuple[int, ...], node: ir.Node
    ) -> int | None:
        if prod(shape) != prod(layout.shape):
            raise self.fail(node, f"cannot reshape {layout.shape} to {shape}")
        if layout.batch is None:
            return None
        before = prod(layout.shape[: layout.batch])
        places = [
            axis
            for axis, length in enumerate(shape)
            if length == layout.shape[layout.batch] and prod(shape[:axis]) == before
        ]
        if places:
            return layout.batch if layout.batch in places else places[0]
        if layout.shape[layout.batch] == 1:
            return None
        raise self.fail(node, f"reshaping to {shape} mixes the batch with other axes")

    def transpose(self, x: Tracked, perm: tuple[int, ...], node: ir.Node) -> Tracked:
        old = x.layout.batch
        shape = tuple(x.layout.shape[p] for p in perm)
        layout = Layout(shape, None if old is None else perm.index(old))
        axes = [axis for axis in range(len(perm)) if axis != old]
        sample_perm = tuple(axes.index(p) for p in perm if p != old)
        if sample_perm == tuple(range(len(sample_perm))):
            return Tracked(x.value, layout)
        return self.emit(Transpose(sample_perm, x.layout.sample), x, layout=layout, node=node)

    def to_sample(self, array: Array, layout: Layout, node: ir.Node) -> NDArray[np.float64]:
        """A constant operand of an element-wise operator, broadcastable to the sample shape."""
        rank = len(layout.shape)
        if array.ndim > rank:
            extra = array.shape[: array.ndim - rank]
            if prod(extra) != 1:
                raise self.fail(node, f"a constant of shape {array.shape} enlarges its input")
            array = array.reshape(array.shape[array.ndim - rank :])
        wide = array.reshape((1,) * (rank - array.ndim) + array.shape).astype(np.float64)
        if np.broadcast_shapes(wide.shape, layout.shape) != layout.shape:
            raise self.fail(
                node, f"a constant of shape {wide.shape} enlarges its input {layout.shape}"
            )
        if layout.batch is None:
            return wide
        if wide.shape[layout.batch] != 1:
            raise self.fail(node, "a constant differs along the batch axis")
        return np.squeeze(wide, axis=layout.batch)

    def logits(self, x: Tracked) -> Tracked:
        """`x` as vectors (N, classes), in a value of its own that may be the graph's output."""
        flat = (x.layout.size,)
        if x.layout.sample != flat:
            return self.emit(Reshape(x.layout.sample, flat), x, layout=x.layout)
        if x.value is self.builder.input:
            return self.emit(Dense(np.eye(flat[0]), np.zeros(flat)), x, layout=x.layout)
        return x


def describe(node: ir.Node) -> str:
    """``node 'name' (Operator)``, with the output's name where the node has none."""
    name = node.name or (node.outputs[0].name if node.outputs else "")
    domain = f"{node.domain}::" if node.domain else ""
    return f"node '{name}' ({domain}{node.op_type})"
