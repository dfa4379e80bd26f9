"""The view of a legalisation rule: constants, computed values with their layout, and `emit`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.errors import UnsupportedError
from graphprune.ir.network import Operator, sample_shape
from graphprune.ir.rebuild import NetworkBuilder
from graphprune.ir.source import Layout
from graphprune.operators import Dense, Gather, Reshape, Transpose

Array = NDArray[np.generic]
# The domain of ONNX Runtime's own operators.
RUNTIME = "com.microsoft"


@dataclass(frozen=True, eq=False)
class Tracked:
    """A computed value: canonical in the new graph, laid out as `layout` in the file.

    Attributes
    ----------
    number
        Its numbers for a batch of one, where they are the same for every input.
    absent
        Cells of the sample that stand for -inf, below all numbers: only maxima may read them.
    choice
        Ones and zeros along one more axis, where it is the number of the cell that holds the one.
    shared
        The value once more, where a factor is shared: matrices come before it.
    """

    value: ir.Value
    layout: Layout
    number: Array | None = None
    absent: NDArray[np.bool_] | None = None
    choice: "Tracked | None" = None
    shared: "SharedFactor | None" = None


@dataclass(frozen=True, eq=False)
class SharedFactor:
    """A value as ``gain values factor + offset``, where many cells have one factor.

    Attributes
    ----------
    values, factor
        Computed; the factor has axes of size 1 that the values do not have.
    gain, offset
        Constants that broadcast to the sample.
    """

    values: Tracked
    factor: Tracked
    gain: NDArray[np.float64]
    offset: NDArray[np.float64]


# One result per output of the node; a single one stands for the first output.
Rule = Callable[["Context", ir.Node], Tracked | tuple[Tracked, ...]]
RULES: dict[str, Rule] = {}


R = TypeVar("R", bound=Rule)


def legalises(*op_types: str, domain: str = "") -> Callable[[R], R]:
    """Decorator: the rule for these operators of a domain, ONNX's default one unless named.

    The first paragraph of the rule's docstring is its algebra; docs/operators.md shows it.
    """

    def wrap(rule: R) -> R:
        for op_type in op_types:
            RULES[rule_key(domain, op_type)] = rule
        return rule

    return wrap


def rule_key(domain: str, op_type: str) -> str:
    """The name of an operator in `RULES`: ``domain::Operator``, the default domain left out."""
    return op_type if domain in ("", "ai.onnx") else f"{domain}::{op_type}"


class Context:
    """State of one legalisation.

    Parameters
    ----------
    label
        The model's name in messages (its path).
    builder
        Receives the canonical operators.
    layout
        Layout of the network's input; its batch axis has the size every batch was bound to.
    opsets
        Opsets by domain: attributes of operators moved to inputs over the years.
    """

    def __init__(
        self, label: str, builder: NetworkBuilder, layout: Layout, opsets: Mapping[str, int]
    ) -> None:
        self.label = label
        self.builder = builder
        self.input = Tracked(builder.input, layout)
        self.batch_size = 1 if layout.batch is None else layout.shape[layout.batch]
        self.opsets = {"": opsets.get("", opsets.get("ai.onnx", 0)), **opsets}
        # From here on runtimes may have other shapes than ONNX's inference.
        self.differs = False
        # Bytes of constants that the file stores, and of those that are computed.
        self.stored = self.folded = 0
        self.constants: dict[str, Array] = {}
        # Some of them in the file's own types.
        self.exact: dict[str, Array] = {}
        # Values, at another batch size, of constants that hang on it.
        self.other: dict[str, Array] = {}
        self.tracked: dict[str, Tracked] = {}
        # The node that is being lowered, and the one that each canonical value is part of.
        self.node: ir.Node | None = None
        self.lowered: dict[ir.Value, ir.Node] = {}

    @property
    def opset(self) -> int:
        """Opset of the default domain."""
        return self.opsets[""]

    def fail(self, node: ir.Node, reason: str) -> UnsupportedError:
        """The error for `node`; rules raise it."""
        return UnsupportedError(f"{self.label}: {describe(node)}: {reason}")

    @staticmethod
    def number(node: ir.Node, name: str, default: float) -> float:
        """A float attribute; its default in float32, as ONNX and runtimes have it."""
        return float(node.attributes.get_float(name, float(np.float32(default))))

    def constant(self, node: ir.Node, index: int, *, whole: bool = False) -> Array | None:
        """Input `index` as an array (floats in float64), or None when it is computed.

        A value that is the same for every input counts as computed only among its like. Its batch
        axis has length 1, or that of the batch where the `whole` tensor is asked for (a view).
        """
        value = node.inputs[index]
        if value is None:
            return None
        name = str(value.name)
        if name in self.tracked and not self.repeats(node):
            found = self.tracked[name]
            if found.number is None or not whole:
                return found.number
            return np.broadcast_to(found.number, found.layout.shape)
        return self.constants.get(name)

    def repeats(self, node: ir.Node) -> bool:
        """True where no input of a node changes with the network's input."""
        names = [str(value.name) for value in node.inputs if value is not None]
        values = [self.tracked[name] for name in names if name in self.tracked]
        return bool(values) and all(value.number is not None for value in values)

    def has(self, node: ir.Node, index: int) -> bool:
        """True where the node has this (optional) input."""
        return index < len(node.inputs) and node.inputs[index] is not None

    def need_constant(self, node: ir.Node, index: int, what: str, *, whole: bool = False) -> Array:
        """Input `index` as an array (floats in float64); raises where it is none, calling it
        `what`."""
        array = self.constant(node, index, whole=whole) if self.has(node, index) else None
        if array is None:
            raise self.fail(node, f"its {what} must be a constant, but it is computed or missing")
        return array

    def computed(self, node: ir.Node, index: int) -> Tracked:
        """Input `index` as a computed value; raises where it is a constant or missing."""
        found = self.value(node, index)
        if found.absent is not None:
            raise self.fail(
                node, f"input {index} holds -inf, which only a MaxPool or Softmax may read"
            )
        return found

    def value(self, node: ir.Node, index: int) -> Tracked:
        """`computed`, for a rule that knows what absent cells are."""
        value = node.inputs[index]
        if value is None or str(value.name) not in self.tracked:
            raise self.fail(node, f"input {index} must be computed from the network's input")
        return self.tracked[str(value.name)]

    def emit(
        self,
        op: Operator,
        *inputs: Tracked,
        layout: Layout,
        node: ir.Node | None = None,
        output: int = 0,
    ) -> Tracked:
        """Add a canonical operator; its value is called as the `output` of `node` it computes."""
        name = None if node is None else node.outputs[output].name
        value = self.builder.add(op, *(t.value for t in inputs), name=name)
        if self.node is not None:
            self.lowered[value] = self.node
        if node is not None and sample_shape(value) != layout.sample:
            raise self.fail(node, f"computes {sample_shape(value)} where {layout.sample} is due")
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

    def relayout(self, x: Tracked, layout: Layout, node: ir.Node | None = None) -> Tracked:
        """Row-major reshape to a layout whose batch axis is known."""
        if layout.sample == x.layout.sample:
            return Tracked(x.value, layout, shared=x.shared if layout == x.layout else None)
        return self.emit(Reshape(x.layout.sample, layout.sample), x, layout=layout, node=node)

    def axis(self, axis: int, layout: Layout, node: ir.Node) -> int:
        """A file's axis, counted from 0."""
        rank = len(layout.shape)
        if not -rank <= axis < rank:
            raise self.fail(node, f"axis {axis} is not one of its input {layout.shape}")
        return axis % rank

    def sample_axis(self, axis: int, layout: Layout, node: ir.Node) -> int:
        """A file's axis as an axis of the sample."""
        axis = self.axis(axis, layout, node)
        if axis == layout.batch:
            raise self.fail(node, f"works along the batch axis ({axis})")
        return axis - (layout.batch is not None and axis > layout.batch)

    def gather(
        self, x: Tracked, axis: int, index: Array, node: ir.Node, *, output: int | None = None
    ) -> Tracked:
        """The cells `index` along a file's axis; `output` is the output of `node` it is."""
        shape = list(x.layout.shape)
        axis = self.axis(axis, x.layout, node)
        flat = np.asarray(index, dtype=np.int64).reshape(-1)
        if np.array_equal(flat, np.arange(shape[axis])):
            return x
        if not flat.size:
            raise self.fail(node, "selects nothing: its output is empty")
        if flat.min() < 0 or flat.max() >= shape[axis]:
            raise self.fail(node, f"reads cell {flat.max()} of an axis of length {shape[axis]}")
        op = Gather(self.sample_axis(axis, x.layout, node), flat, x.layout.sample)
        shape[axis] = len(flat)
        layout = Layout(tuple(shape), x.layout.batch)
        named = None if output is None else node
        return self.emit(op, x, layout=layout, node=named, output=output or 0)

    def broadcast(self, x: Tracked, shape: tuple[int, ...], node: ir.Node) -> Tracked:
        """`x` repeated along axes of size 1 (numpy's rules) until it has `shape`."""
        lead = len(shape) - len(x.layout.shape)
        batch = None if x.layout.batch is None else x.layout.batch + lead
        x = self.relayout(x, Layout((1,) * lead + x.layout.shape, batch))
        for axis, length in enumerate(shape):
            if x.layout.shape[axis] != length:
                x = self.gather(x, axis, np.zeros(length, np.int64), node)
        return x

    def align(self, node: ir.Node, *values: Tracked) -> list[Tracked]:
        """Computed operands of an element-wise operator, all broadcast to one layout."""
        try:
            shape = np.broadcast_shapes(*(x.layout.shape for x in values))
        except ValueError:
            shapes = ", ".join(str(x.layout.shape) for x in values)
            raise self.fail(node, f"its inputs' shapes {shapes} do not broadcast") from None
        aligned = [self.broadcast(x, shape, node) for x in values]
        found = {x.layout.batch for x in aligned if x.layout.batch is not None}
        if len(found) > 1:
            raise self.fail(node, "its inputs have their batch in different axes")
        if found:
            # A value without a batch joins one in a batch of 1.
            layout = Layout(shape, found.pop())
            if shape[layout.batch or 0] != 1 and any(x.layout.batch is None for x in aligned):
                raise self.fail(node, "combines a value with a batch and one without")
            aligned = [self.relayout(x, layout) for x in aligned]
        return aligned

    def transpose(self, x: Tracked, perm: tuple[int, ...], node: ir.Node) -> Tracked:
        old = x.layout.batch
        shape = tuple(x.layout.shape[p] for p in perm)
        layout = Layout(shape, None if old is None else perm.index(old))
        axes = [axis for axis in range(len(perm)) if axis != old]
        sample_perm = tuple(axes.index(p) for p in perm if p != old)
        if sample_perm == tuple(range(len(sample_perm))):
            return Tracked(x.value, layout)
        return self.emit(Transpose(sample_perm, x.layout.sample), x, layout=layout, node=node)

    def enlarged(self, x: Tracked, array: Array, node: ir.Node) -> Tracked:
        """`x` broadcast so that a constant operand does not enlarge it."""
        try:
            shape = np.broadcast_shapes(array.shape, x.layout.shape)
        except ValueError:
            raise self.fail(
                node, f"a constant of shape {array.shape} does not fit its input {x.layout.shape}"
            ) from None
        return self.broadcast(x, shape, node) if shape != x.layout.shape else x

    def to_sample(self, array: Array, layout: Layout, node: ir.Node) -> NDArray[np.float64]:
        """A constant operand of an element-wise operator, broadcastable to the sample shape."""
        rank = len(layout.shape)
        wide = array.reshape((1,) * (rank - array.ndim) + array.shape).astype(np.float64)
        fits = wide.ndim == rank and all(
            n in (1, m) for n, m in zip(wide.shape, layout.shape, strict=True)
        )
        if not fits:
            raise self.fail(
                node, f"a constant of shape {array.shape} does not fit its input {layout.shape}"
            )
        if layout.batch is None:
            return wide
        if wide.shape[layout.batch] != 1:
            first = np.take(wide, [0], axis=layout.batch)
            if not np.array_equal(wide, np.broadcast_to(first, wide.shape)):
                raise self.fail(node, "a constant differs along the batch axis")
            wide = first
        return np.squeeze(wide, axis=layout.batch)

    def logits(self, x: Tracked) -> Tracked:
        """`x` as vectors (N, classes), in a value of its own that may be the graph's output."""
        if x.absent is not None:
            raise UnsupportedError(f"{self.label}: its output holds -inf for every input")
        flat = (x.layout.size,)
        if x.layout.sample != flat:
            return self.emit(Reshape(x.layout.sample, flat), x, layout=x.layout)
        if x.value is self.builder.input:
            return self.emit(Dense(np.eye(flat[0]), np.zeros(flat)), x, layout=x.layout)
        return x


def describe(node: ir.Node) -> str:
    """``node 'name' (Operator)``."""
    domain = f"{node.domain}::" if node.domain else ""
    return f"node '{name_of(node)}' ({domain}{node.op_type})"


def name_of(node: ir.Node) -> str:
    """The node's name, or its first named output's where it has none."""
    return node.name or next((str(out.name) for out in node.outputs if out.name), "")
