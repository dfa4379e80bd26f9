"""Shapes and constants known while a model file is read, and the steps made of its nodes."""

import hashlib
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from scipy import sparse

from graphprune.check.steps import AffineStep, Floats, Model, ReluStep, Shape
from graphprune.errors import ModelError, UnsupportedError

# The point that several inputs are parts of; no tensor is called so.
POINT = ""
_TYPES: dict[int, np.dtype[np.floating]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.DOUBLE: np.dtype(np.float64),
}


class UnreadableError(Exception):
    """The reason why a node cannot be read."""


Attributes = dict[str, Any]
# Makes steps of a node; takes the attributes that it understands out of the dictionary.
Rule = Callable[["ModelReader", onnx.NodeProto, Attributes], None]
RULES: dict[str, Rule] = {}


def reads(*operators: str) -> Callable[[Rule], Rule]:
    """Decorator of the rule of some operators."""

    def note(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(operators, rule))
        return rule

    return note


def refuse_external(tensor: onnx.TensorProto, label: str, name: str) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise UnsupportedError(
            f"{label}: '{name}' lies in another file, outside the hash; write the model"
            " into one: onnx.save(onnx.load('model.onnx'), 'one.onnx')"
        )


class ModelReader:
    """Shapes and constants known so far, and the steps made of the nodes."""

    def __init__(self, proto: onnx.ModelProto, label: str) -> None:
        self.graph = proto.graph
        self.label = label
        self.constants = {t.name: self.array(t, t.name) for t in self.graph.initializer}
        self.names = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self.shapes: dict[str, Shape] = {}
        self.steps: list[AffineStep | ReluStep] = []
        self.relus: list[int] = []
        self.batch = 1

    def model(self, data: bytes) -> Model:
        if len(self.graph.output) != 1:
            raise UnsupportedError(f"{self.label}: the checker reads one output")
        inputs = [v for v in self.graph.input if v.name not in self.constants]
        dtypes = {self._input(value) for value in inputs}
        if len(dtypes) != 1:
            raise UnsupportedError(f"{self.label}: the checker reads inputs of one type")
        parts = tuple((value.name, self.shapes[value.name]) for value in inputs)
        name, shape = parts[0]
        if len(parts) > 1:
            name, shape = POINT, (sum(prod(own) for _, own in parts),)
            start = 0
            for part, own in parts:
                places = np.arange(start, start + prod(own))
                self.steps.append(AffineStep(part, name, selection(places, prod(shape))))
                start += prod(own)
        for node in self.graph.node:
            self._node(node)
        out = self.graph.output[0].name
        if out not in self.shapes or len(self.shapes[out]) != 1:
            raise UnsupportedError(f"{self.label}: the output is not one row of logits per sample")
        return Model(
            data, hashlib.sha256(data).hexdigest(), name, out, parts, shape,
            self.batch, self.shapes[out][0], dtypes.pop(), tuple(self.steps), tuple(self.relus),
        )  # fmt: skip

    def _input(self, value: onnx.ValueInfoProto) -> np.dtype[np.floating]:
        """Note an input's shape; its type."""
        tensor = value.type.tensor_type
        dims = [d.dim_value for d in tensor.shape.dim]
        if len(dims) < 2 or any(d <= 0 for d in dims[1:]):
            raise UnsupportedError(f"{self.label}: input shape {dims}: needs a batch axis first")
        if tensor.elem_type not in _TYPES:
            raise UnsupportedError(f"{self.label}: the input is neither float nor double")
        batch = max(dims[0], 1)
        if self.shapes and batch != self.batch:
            raise UnsupportedError(f"{self.label}: its inputs have batches of different sizes")
        self.batch = batch
        self.shapes[value.name] = tuple(dims[1:])
        return _TYPES[tensor.elem_type]

    def array(self, tensor: onnx.TensorProto, name: str) -> NDArray[Any]:
        refuse_external(tensor, self.label, name)
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            raise ModelError(f"{self.label}: '{name}' holds NaN or infinite values")
        return array

    def _node(self, node: onnx.NodeProto) -> None:
        where = f"{self.label}: node '{node.name or node.output[0]}' ({node.op_type})"
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            known = ", ".join(sorted(RULES))
            raise UnsupportedError(f"{where}: the checker reads only {known}")
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        try:
            rule(self, node, attributes)
        except UnreadableError as error:
            raise UnsupportedError(f"{where}: {error}") from None
        if attributes:
            raise UnsupportedError(f"{where}: attribute '{min(attributes)}' is not supported")

    # The tools of the rules.

    def constant(self, node: onnx.NodeProto, index: int) -> NDArray[Any] | None:
        """Input `index` if it is given; it must be a constant."""
        if index >= len(node.input) or not node.input[index]:
            return None
        name = node.input[index]
        if name not in self.constants:
            raise UnreadableError(f"input '{name}' is not a constant")
        return self.constants[name]

    def weight(self, node: onnx.NodeProto, index: int) -> Floats:
        """Input `index`, a constant, in float64."""
        array = self.constant(node, index)
        if array is None:
            raise UnreadableError(f"input {index} is missing")
        return array.astype(np.float64)

    def integers(
        self, node: onnx.NodeProto, a: Attributes, name: str, index: int
    ) -> list[int] | None:
        """Whole numbers that older opsets have as an attribute and newer ones as an input."""
        array = self.constant(node, index)
        given = a.pop(name, None)
        found = given if array is None else array.reshape(-1).tolist()
        return None if found is None else [int(number) for number in found]

    def axes(self, node: onnx.NodeProto, a: Attributes) -> list[int]:
        """The axes of a sample that a reduction runs over, increasing."""
        a.pop("noop_with_empty_axes", None)
        given = self.integers(node, a, "axes", 1)
        if not given:
            raise UnreadableError("without axes it runs over the batch")
        return sorted({own_axis(axis, self.shape(node.input[0])) for axis in given})

    def shape(self, name: str) -> Shape:
        """The sample shape of a tensor."""
        if name not in self.shapes:
            raise UnreadableError(f"input '{name}' is a constant where a tensor is expected")
        return self.shapes[name]

    def add(self, node: onnx.NodeProto, shape: Shape, **parts: Any) -> None:
        """Make the node's output by an affine step."""
        self.shapes[node.output[0]] = shape
        self.steps.append(AffineStep(node.output[0], **parts))

    def same(self, node: onnx.NodeProto, shape: Shape, name: str | None = None) -> None:
        """Make the node's output of the same elements, those of `name` or of its first input."""
        name = name or node.input[0]
        if prod(shape) != prod(self.shape(name)):
            raise UnreadableError(f"shape {shape} does not fit")
        self.add(node, shape, input=name)

    def affine(
        self, shape: Shape, name: str, matrix: sparse.csr_array | None = None,
        bias: Floats | None = None, plus: str | None = None,
    ) -> str:  # fmt: skip
        """Name a new tensor of this shape: matrix @ name + bias + plus."""
        made = self._fresh(shape)
        self.steps.append(AffineStep(made, name, matrix, bias, plus))
        return made

    def relu(self, name: str) -> str:
        """Name a new tensor: max(name, 0), whose elements are neurons."""
        shape = self.shape(name)
        made = self._fresh(shape)
        self.steps.append(ReluStep(made, name))
        self.relus.append(prod(shape))
        return made

    def _fresh(self, shape: Shape) -> str:
        made = f"made by step {len(self.steps)}"
        while made in self.names:
            made += "'"
        self.shapes[made] = shape
        return made


def spread(constant: NDArray[Any], shape: Shape) -> Floats:
    """A constant broadcast to one sample, flat."""
    try:
        whole = np.broadcast_to(constant.astype(np.float64), (1, *shape))
    except ValueError:
        raise UnreadableError(f"a constant of shape {constant.shape} does not fit") from None
    return whole.reshape(-1)


def diagonal(values: Floats) -> sparse.csr_array:
    """The matrix that multiplies each element by its own factor."""
    return sparse.csr_array(sparse.diags_array(values))


def negative(shape: Shape) -> sparse.csr_array:
    """The matrix that turns the sign of every element of a sample."""
    return diagonal(np.full(prod(shape), -1.0))


def selection(places: NDArray[np.integer], total: int) -> sparse.csr_array:
    """The matrix (len(places), total) that takes elements by their place; -1: zero."""
    rows = np.flatnonzero(places >= 0)
    cells = (np.ones(len(rows)), (rows, places[rows]))
    return sparse.csr_array(sparse.coo_array(cells, shape=(len(places), total)))


def own_axis(axis: int, shape: Shape) -> int:
    """The axis of a sample that an axis of the file means.

    Raises
    ------
    UnreadableError
        It is the batch, or none.
    """
    rank = len(shape) + 1
    if not -rank < axis < rank or axis == 0:
        raise UnreadableError(f"axis {axis} is none of a sample's")
    return (axis if axis > 0 else axis + rank) - 1
