"""Products with constants, sums, and means along axes."""

from math import prod
from typing import Any

import numpy as np
import onnx
from scipy import sparse

from graphprune.check.reader import (
    Attributes,
    ModelReader,
    Rule,
    UnreadableError,
    diagonal,
    negative,
    reads,
    spread,
)
from graphprune.check.steps import AffineStep, Floats


@reads("Gemm")
def _gemm(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    weight = r.weight(node, 1)
    if a.pop("transA", 0):
        raise UnreadableError("transA is not supported")
    matrix = weight if a.pop("transB", 0) else weight.T
    _dense(r, node, a.pop("alpha", 1.0) * matrix)
    bias, beta = r.constant(node, 2), a.pop("beta", 1.0)
    if bias is not None:
        step = r.steps[-1]
        assert isinstance(step, AffineStep)
        offset = beta * spread(bias, (len(matrix),))
        r.steps[-1] = AffineStep(step.output, step.input, step.matrix, offset)


@reads("MatMul")
def _matmul(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    _dense(r, node, r.weight(node, 1).T)


def _dense(r: ModelReader, node: onnx.NodeProto, matrix: Floats) -> None:
    if matrix.ndim != 2 or r.shape(node.input[0]) != (matrix.shape[1],):
        raise UnreadableError("weight and input do not fit")
    r.add(node, (len(matrix),), input=node.input[0], matrix=sparse.csr_array(matrix))


def _sum(sign: float) -> Rule:
    def rule(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
        first, second = node.input
        if first in r.constants:
            shape = r.shape(second)
            scale = None if sign > 0 else negative(shape)
            r.add(node, shape, input=second, matrix=scale, bias=spread(r.constants[first], shape))
        elif second in r.constants:
            shape = r.shape(first)
            r.add(node, shape, input=first, bias=sign * spread(r.constants[second], shape))
        elif r.shape(first) != r.shape(second):
            raise UnreadableError("only tensors of one shape are added")
        elif sign < 0:
            shape = r.shape(first)
            r.add(node, shape, input=second, matrix=negative(shape), input2=first)
        else:
            r.add(node, r.shape(first), input=first, input2=second)

    return rule


reads("Add")(_sum(1.0))
reads("Sub")(_sum(-1.0))


@reads("Neg")
def _neg(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape = r.shape(node.input[0])
    r.add(node, shape, input=node.input[0], matrix=negative(shape))


@reads("Mul")
def _mul(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    first, second = node.input
    constant, tensor = (first, second) if first in r.constants else (second, first)
    shape = r.shape(tensor)
    factors = spread(r.constants.get(constant, np.zeros(0)), shape)
    r.add(node, shape, input=tensor, matrix=diagonal(factors))


@reads("Div")
def _div(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    shape = r.shape(node.input[0])
    divisors = spread(r.weight(node, 1), shape)
    if np.any(divisors == 0.0):
        raise UnreadableError("division by zero")
    # One rounding more per weight than the file's numbers have; the propagation counts it.
    r.add(node, shape, input=node.input[0], matrix=diagonal(1.0 / divisors))


@reads("BatchNormalization")
def _batch_norm(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    a.pop("momentum", None)
    if a.pop("training_mode", 0) or a.pop("spatial", 1) != 1 or len(node.output) != 1:
        raise UnreadableError("training mode is not supported")
    shape = r.shape(node.input[0])
    epsilon = a.pop("epsilon", 1e-5)
    column = (len(r.weight(node, 1)), *(1,) * (len(shape) - 1))
    scale, shift, mean, variance = (
        spread(r.weight(node, i).reshape(column), shape) for i in range(1, 5)
    )
    if np.any(variance + epsilon <= 0):
        raise UnreadableError("a variance is not positive")
    centred = r.affine(shape, node.input[0], bias=-mean)
    matrix = diagonal(scale / np.sqrt(variance + epsilon))
    r.add(node, shape, input=centred, matrix=matrix, bias=shift)


@reads("ReduceSum", "ReduceMean")
def _along_axes(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    mean, keep = node.op_type == "ReduceMean", bool(a.pop("keepdims", 1))
    sums(r, node, node.input[0], r.axes(node, a), mean=mean, keep=keep)


@reads("GlobalAveragePool")
def _global_average(r: ModelReader, node: onnx.NodeProto, a: Attributes) -> None:
    axes = list(range(1, len(r.shape(node.input[0]))))
    sums(r, node, node.input[0], axes, mean=True, keep=True)


def sums(
    r: ModelReader, node: onnx.NodeProto, x: str, axes: list[int], *, mean: bool, keep: bool
) -> None:
    """Sums or means of a tensor's elements along axes of a sample."""
    shape = r.shape(x)
    short = tuple(1 if i in axes else side for i, side in enumerate(shape))
    out = short if keep else tuple(side for i, side in enumerate(shape) if i not in axes)
    rows = np.broadcast_to(np.arange(prod(short)).reshape(short), shape).reshape(-1)
    weight = 1.0 / prod(shape[i] for i in axes) if mean else 1.0
    cells: Any = (np.full(prod(shape), weight), (rows, np.arange(prod(shape))))
    matrix = sparse.csr_array(sparse.coo_array(cells, shape=(prod(short), prod(shape))))
    r.add(node, out, input=x, matrix=matrix)
