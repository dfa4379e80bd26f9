"""The model file as a sequence of affine maps and ReLUs, read without any of graphprune.

Supported are the operators of `_RULES`, inputs of one type and one output, the batch as first axis;
anything else is refused by name. Several inputs are one point, one after the other. The model is
taken as the real-valued function of the file's numbers.
"""

import hashlib
from collections.abc import Callable
from itertools import product
from math import prod
from pathlib import Path
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


def read_model(path: str | Path) -> Model:
    """Read a model file.

    Raises
    ------
    ModelError
        Missing or unreadable file.
    UnsupportedError
        Weights outside the file, or something else outside the checker's subset.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot read: {error.strerror}") from None
    return parse_model(data, str(path))


def parse_model(data: bytes, label: str = "model") -> Model:
    """A model from its bytes; `label` names it in messages."""
    try:
        proto = onnx.load_model_from_string(data)
        for tensor in proto.graph.initializer:
            _refuse_external(tensor, label, tensor.name)
        shaped = all(v.type.tensor_type.HasField("shape") for v in proto.graph.output)
        onnx.checker.check_model(proto if shaped else onnx.shape_inference.infer_shapes(proto))
    except UnsupportedError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{label}: not a valid ONNX model: {reason}") from None
    return _ModelReader(proto, label).model(data)


def _refuse_external(tensor: onnx.TensorProto, label: str, name: str) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise UnsupportedError(
            f"{label}: '{name}' lies in another file, outside the hash; write the model"
            " into one: onnx.save(onnx.load('model.onnx'), 'one.onnx')"
        )


class _ModelReader:
    """Shapes and constants known so far, and the steps made of the nodes."""

    def __init__(self, proto: onnx.ModelProto, label: str) -> None:
        self.graph = proto.graph
        self.label = label
        self.constants = {t.name: self._array(t, t.name) for t in self.graph.initializer}
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
                rows = _rows(prod(own), prod(shape), start, transposed=False)
                self.steps.append(AffineStep(part, name, rows))
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

    def _array(self, tensor: onnx.TensorProto, name: str) -> NDArray[Any]:
        _refuse_external(tensor, self.label, name)
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            raise ModelError(f"{self.label}: '{name}' holds NaN or infinite values")
        return array

    def _node(self, node: onnx.NodeProto) -> None:
        where = f"{self.label}: node '{node.name or node.output[0]}' ({node.op_type})"
        rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None:
            known = ", ".join(sorted(_RULES))
            raise UnsupportedError(f"{where}: the checker reads only {known}")
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        try:
            rule(self, node, attributes)
        except _UnreadableError as error:
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
            raise _UnreadableError(f"input '{name}' is not a constant")
        return self.constants[name]

    def weight(self, node: onnx.NodeProto, index: int) -> Floats:
        array = self.constant(node, index)
        if array is None:
            raise _UnreadableError(f"input {index} is missing")
        return array.astype(np.float64)

    def shape(self, name: str) -> Shape:
        if name not in self.shapes:
            raise _UnreadableError(f"input '{name}' is a constant where a tensor is expected")
        return self.shapes[name]

    def add(self, node: onnx.NodeProto, shape: Shape, **parts: Any) -> None:
        self.shapes[node.output[0]] = shape
        self.steps.append(AffineStep(node.output[0], **parts))

    def same(self, node: onnx.NodeProto, shape: Shape) -> None:
        """The same elements under another shape."""
        if prod(shape) != prod(self.shape(node.input[0])):
            raise _UnreadableError(f"shape {shape} does not fit")
        self.add(node, shape, input=node.input[0])


class _UnreadableError(Exception):
    """The reason why a node cannot be read."""


Rule = Callable[[_ModelReader, onnx.NodeProto, dict[str, Any]], None]


def _conv(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    weight, shape = r.weight(node, 1), r.shape(node.input[0])
    sides, kernel = shape[1:], weight.shape[2:]
    if weight.ndim != len(shape) + 1 or list(a.pop("kernel_shape", kernel)) != list(kernel):
        raise _UnreadableError("kernel and input do not fit")
    n = len(sides)
    strides, dilations = a.pop("strides", [1] * n), a.pop("dilations", [1] * n)
    group, mode = a.pop("group", 1), a.pop("auto_pad", b"NOTSET").decode()
    if shape[0] != weight.shape[1] * group or weight.shape[0] % group:
        raise _UnreadableError("group and channels do not fit")
    pads = a.pop("pads", [0] * (2 * n))
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        outs = [-(-side // s) for side, s in zip(sides, strides, strict=True)]
        total = [max(0, (outs[i] - 1) * strides[i] + spans[i] - sides[i]) for i in range(n)]
        before = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
    elif mode in ("NOTSET", "VALID"):
        before, after = (list(pads[:n]), list(pads[n:])) if mode == "NOTSET" else ([0] * n, [0] * n)
        outs = [
            (sides[i] + before[i] + after[i] - spans[i]) // strides[i] + 1 for i in range(n)
        ]  # fmt: skip
    else:
        raise _UnreadableError(f"auto_pad {mode}")
    if min(before) < 0 or min(outs) < 1:
        raise _UnreadableError("negative pads or no output")
    matrix = _conv_matrix(weight, sides, outs, list(strides), before, list(dilations), group)
    bias = r.constant(node, 2)
    spread = None if bias is None else np.repeat(bias.astype(np.float64), prod(outs))
    r.add(node, (len(weight), *outs), input=node.input[0], matrix=matrix, bias=spread)


def _conv_matrix(
    weight: Floats, sides: Shape, outs: list[int], strides: list[int], before: list[int],
    dilations: list[int], group: int,
) -> sparse.csr_array:  # fmt: skip
    channels_out, per_group = weight.shape[:2]
    channel_in = (
        np.arange(channels_out)[:, None] // (channels_out // group) * per_group
        + np.arange(per_group)[None]
    )
    rows, columns, values = [], [], []
    kernel = weight.shape[2:]
    for offset in product(*(range(k) for k in kernel)):
        at = np.indices(outs).reshape(len(outs), -1)
        source = [
            at[i] * strides[i] - before[i] + offset[i] * dilations[i] for i in range(len(outs))
        ]
        inside = np.all([(s >= 0) & (s < side) for s, side in zip(source, sides, strict=True)], 0)
        pixel_out = np.flatnonzero(inside)
        if not len(pixel_out):
            continue
        pixel_in = np.ravel_multi_index([s[inside] for s in source], sides)
        shape = (channels_out, per_group, len(pixel_out))
        row = np.arange(channels_out)[:, None, None] * prod(outs) + pixel_out
        rows.append(np.broadcast_to(row, shape).ravel())
        columns.append((channel_in[:, :, None] * prod(sides) + pixel_in).ravel())
        value = weight.reshape(channels_out, per_group, -1)[
            :, :, np.ravel_multi_index(offset, kernel)
        ]
        values.append(np.broadcast_to(value[:, :, None], shape).ravel())
    size = (channels_out * prod(outs), channel_in.max() * prod(sides) + prod(sides))
    if not rows:
        return sparse.csr_array(size)
    parts = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(sparse.coo_array(parts, shape=size))


def _gemm(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    weight = r.weight(node, 1)
    if a.pop("transA", 0):
        raise _UnreadableError("transA is not supported")
    matrix = weight if a.pop("transB", 0) else weight.T
    _dense(r, node, a.pop("alpha", 1.0) * matrix)
    bias, beta = r.constant(node, 2), a.pop("beta", 1.0)
    if bias is not None:
        step = r.steps[-1]
        assert isinstance(step, AffineStep)
        spread = beta * _spread(bias, (len(matrix),))
        r.steps[-1] = AffineStep(step.output, step.input, step.matrix, spread)


def _matmul(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    _dense(r, node, r.weight(node, 1).T)


def _dense(r: _ModelReader, node: onnx.NodeProto, matrix: Floats) -> None:
    if matrix.ndim != 2 or r.shape(node.input[0]) != (matrix.shape[1],):
        raise _UnreadableError("weight and input do not fit")
    r.add(node, (len(matrix),), input=node.input[0], matrix=sparse.csr_array(matrix))


def _spread(constant: NDArray[Any], shape: Shape) -> Floats:
    """A constant broadcast to one sample, flat."""
    try:
        whole = np.broadcast_to(constant.astype(np.float64), (1, *shape))
    except ValueError:
        raise _UnreadableError(f"a constant of shape {constant.shape} does not fit") from None
    return whole.reshape(-1)


def _sum(sign: float) -> Rule:
    def rule(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
        first, second = node.input
        if first in r.constants:
            shape = r.shape(second)
            scale = None if sign > 0 else _diagonal(np.full(prod(shape), -1.0))
            bias = _spread(r.constants[first], shape)
            r.add(node, shape, input=second, matrix=scale, bias=bias)
        elif second in r.constants:
            shape = r.shape(first)
            bias = sign * _spread(r.constants[second], shape)
            r.add(node, shape, input=first, bias=bias)
        elif sign < 0 or r.shape(first) != r.shape(second):
            raise _UnreadableError("only tensors of one shape are added")
        else:
            r.add(node, r.shape(first), input=first, input2=second)

    return rule


def _diagonal(values: Floats) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array(values))


def _mul(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    first, second = node.input
    constant, tensor = (first, second) if first in r.constants else (second, first)
    shape = r.shape(tensor)
    factors = _spread(r.constants.get(constant, np.zeros(0)), shape)
    r.add(node, shape, input=tensor, matrix=_diagonal(factors))


def _div(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    shape = r.shape(node.input[0])
    divisors = _spread(r.weight(node, 1), shape)
    if np.any(divisors == 0.0):
        raise _UnreadableError("division by zero")
    # One rounding more per weight than the file's numbers have; `transfer` counts it.
    r.add(node, shape, input=node.input[0], matrix=_diagonal(1.0 / divisors))


def _batch_norm(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    a.pop("momentum", None)
    if a.pop("training_mode", 0) or a.pop("spatial", 1) != 1 or len(node.output) != 1:
        raise _UnreadableError("training mode is not supported")
    shape = r.shape(node.input[0])
    epsilon = a.pop("epsilon", 1e-5)
    column = (len(r.weight(node, 1)), *(1,) * (len(shape) - 1))
    scale, shift, mean, variance = (
        _spread(r.weight(node, i).reshape(column), shape) for i in range(1, 5)
    )
    if np.any(variance + epsilon <= 0):
        raise _UnreadableError("a variance is not positive")
    centred = f"{node.output[0]}/centred"
    r.shapes[centred] = shape
    r.steps.append(AffineStep(centred, node.input[0], None, -mean))
    matrix = _diagonal(scale / np.sqrt(variance + epsilon))
    r.add(node, shape, input=centred, matrix=matrix, bias=shift)


def _relu(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    shape = r.shape(node.input[0])
    r.shapes[node.output[0]] = shape
    r.steps.append(ReluStep(node.output[0], node.input[0]))
    r.relus.append(prod(shape))


def _flatten(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    shape = r.shape(node.input[0])
    if a.pop("axis", 1) not in (1, -len(shape)):
        raise _UnreadableError("only axis 1 is supported")
    r.same(node, (prod(shape),))


def _reshape(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    shape = r.shape(node.input[0])
    wanted = r.constant(node, 1)
    if wanted is None or wanted.ndim != 1 or len(wanted) < 2:
        raise _UnreadableError("only a constant shape of two or more sides is supported")
    if a.pop("allowzero", 0) and not np.all(wanted):
        raise _UnreadableError("an empty output is not supported")
    first, *sides = (int(side) for side in wanted)
    whole = (r.batch, *shape)
    sides = [whole[i + 1] if s == 0 and i + 1 < len(whole) else s for i, s in enumerate(sides)]
    known = prod(s for s in sides if s != -1)
    if first not in (0, -1, r.batch) or (first == -1) + sides.count(-1) > 1 or known <= 0:
        raise _UnreadableError(f"shape {wanted.tolist()} does not keep the batch first")
    r.same(node, tuple(prod(shape) // known if s == -1 else s for s in sides))


def _identity(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    if node.op_type == "Dropout":
        a.clear()
        if len(node.input) > 2 and node.input[2]:
            raise _UnreadableError("training mode is not supported")
    if node.input[0] in r.constants:
        r.constants[node.output[0]] = r.constants[node.input[0]]
    else:
        r.same(node, r.shape(node.input[0]))


def _constant(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    tensor = a.pop("value", None)
    if tensor is None:
        raise _UnreadableError("only a tensor value is supported")
    r.constants[node.output[0]] = r._array(tensor, node.output[0])


def _rows(count: int, total: int, start: int, *, transposed: bool) -> sparse.csr_array:
    """The matrix that takes `count` elements out of `total`, or puts them there."""
    places = (np.arange(count), np.arange(start, start + count))
    shape = (total, count) if transposed else (count, total)
    cells = places[::-1] if transposed else places
    return sparse.csr_array((np.ones(count), cells), shape=shape)


def _concat(r: _ModelReader, node: onnx.NodeProto, a: dict[str, Any]) -> None:
    """Each part in its place, and the sum of these."""
    shapes = [r.shape(name) for name in node.input]
    if any(len(shape) != 1 for shape in shapes) or a.pop("axis") not in (1, -1):
        raise _UnreadableError("only vectors are joined, along axis 1")
    total, start, below = sum(shape[0] for shape in shapes), 0, None
    for index, (name, (count,)) in enumerate(zip(node.input, shapes, strict=True)):
        last = index == len(shapes) - 1
        out = node.output[0] if last else f"{node.output[0]}/{index}"
        matrix = _rows(count, total, start, transposed=True)
        r.steps.append(AffineStep(out, name, matrix, None, below))
        start, below = start + count, out
    r.shapes[node.output[0]] = (total,)


_RULES: dict[str, Rule] = {
    "Add": _sum(1.0),
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "Div": _div,
    "Dropout": _identity,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _matmul,
    "Mul": _mul,
    "Relu": _relu,
    "Reshape": _reshape,
    "Sub": _sum(-1.0),
}
