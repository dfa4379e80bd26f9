"""Gemm and MatMul with a constant on either side, or of two computed values."""

from math import prod
from string import ascii_lowercase

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import RUNTIME, Array, Context, SharedFactor, Tracked, legalises
from graphprune.canonical.rules.arithmetic import scale, shift
from graphprune.canonical.rules.products import contracted, product
from graphprune.ir.source import Layout
from graphprune.operators import Add, Conv, Dense, MatMul

Floats = NDArray[np.float64]

# Columns per row of a matrix that comes before a factor, at most: each is a product of its own.
WIDER = 8


def times_matrix(context: Context, node: ir.Node, x: Tracked, weight: Floats) -> Tracked:
    """x W, contracting the last axis of the file's tensor; of x = v s + c with a factor s that is
    one number along it, (v W) s + c W.

    One relaxation is off then per column of W, where those of all products of a row would be, and
    add up although the terms of v W cancel.
    """
    along = None if x.shared is None else x.shared.factor.layout.shape[-1:]
    if x.shared is not None and along in ((), (1,)) and weight.shape[1] <= WIDER * len(weight):
        return _before_factor(context, node, x, x.shared, weight)
    shape, batch = x.layout.shape, x.layout.batch
    if batch == len(shape) - 1:
        raise context.fail(node, "contracts the batch axis")
    layout = Layout((*shape[:-1], weight.shape[1]), batch)
    if len(x.layout.sample) == 1:
        op = Dense(np.ascontiguousarray(weight.T), np.zeros(weight.shape[1]))
        return context.emit(op, x, layout=layout, node=node)
    return context.emit(MatMul(weight, False, x.layout.sample), x, layout=layout, node=node)


def _before_factor(
    context: Context, node: ir.Node, x: Tracked, shared: SharedFactor, weight: Floats
) -> Tracked:
    """(gain v W) s + offset W."""
    values = shared.values
    if np.any(shared.gain != 1.0):
        values = scale(context, node, values, shared.gain)
    out = product(context, node, times_matrix(context, node, values, weight), shared.factor)
    if not np.any(shared.offset):
        return out
    return shift(context, node, out, (shared.offset * np.ones(len(weight))) @ weight)


def _left(context: Context, node: ir.Node, weight: Floats, x: Tracked) -> Tracked:
    """weight @ x, contracting the last but one axis (the only one of a vector)."""
    shape, batch = x.layout.shape, x.layout.batch
    axis = max(len(shape) - 2, 0)
    if batch == axis:
        raise context.fail(node, "contracts the batch axis")
    layout = Layout((*shape[:axis], weight.shape[0], *shape[axis + 1 :]), batch)
    if len(x.layout.sample) == 1:
        return context.emit(Dense(weight, np.zeros(len(weight))), x, layout=layout, node=node)
    if batch == len(shape) - 1:
        raise context.fail(node, f"a constant on the left of a batch in the last axis of {shape}")
    return context.emit(MatMul(weight, True, x.layout.sample), x, layout=layout, node=node)


def along_axis(context: Context, node: ir.Node, x: Tracked, axis: int, matrix: Floats) -> Tracked:
    """`matrix` (m, n) applied along a file's axis of length n."""
    place = context.sample_axis(axis, x.layout, node)
    sample, shape = x.layout.sample, list(x.layout.shape)
    shape[axis] = len(matrix)
    layout = Layout(tuple(shape), x.layout.batch)
    if len(sample) == 1:
        return context.emit(Dense(matrix, np.zeros(len(matrix))), x, layout=layout, node=node)
    before, after = prod(sample[:place]), prod(sample[place + 1 :])
    folded = context.relayout(x, Layout((1, before, sample[place], after), 0))
    op = MatMul(matrix, True, (before, sample[place], after))
    product = context.emit(op, folded, layout=Layout((1, before, len(matrix), after), 0))
    return context.relayout(product, layout, node)


def _matrix(context: Context, node: ir.Node, array: NDArray[np.generic]) -> Floats:
    if array.ndim > 2 and max(array.shape[:-2]) == 1:
        array = array.reshape(array.shape[-2:])
    if array.ndim != 2:
        raise context.fail(node, f"a constant of shape {array.shape} is no matrix")
    return array.astype(np.float64)


def _fits(context: Context, node: ir.Node, inner: int, weight: int) -> None:
    if inner != weight:
        raise context.fail(node, f"inner sizes {inner} and {weight} differ")


@legalises("MatMul")
def matmul(context: Context, node: ir.Node) -> Tracked:
    """x W or W x with a constant W, also batches of matrices (as a convolution in groups); of two
    computed values a sum of products."""
    left, right = (context.constant(node, side) for side in (0, 1))
    return multiplied(
        context, node,
        context.computed(node, 0) if left is None else left,
        context.computed(node, 1) if right is None else right,
    )  # fmt: skip


@legalises("FusedMatMul", "TransposeMatMul", domain=RUNTIME)
def fused_matmul(context: Context, node: ir.Node) -> Tracked:
    """alpha op(A) op(B), op transposes the last two axes; each of them constant or computed."""
    sides: list[Tracked | Array] = []
    for index, side in enumerate("AB"):
        if node.attributes.get_int(f"transBatch{side}", 0):
            raise context.fail(node, f"transBatch{side} is not supported")
        turned = bool(node.attributes.get_int(f"trans{side}", 0))
        constant = context.constant(node, index)
        if constant is not None:
            turns = turned and constant.ndim > 1
            sides.append(np.swapaxes(constant, -1, -2) if turns else constant)
            continue
        x = context.computed(node, index)
        rank = len(x.layout.shape)
        if turned and rank > 1:
            x = context.transpose(x, (*range(rank - 2), rank - 1, rank - 2), node)
        sides.append(x)
    out = multiplied(context, node, *sides)
    alpha = context.number(node, "alpha", 1.0)
    return out if alpha == 1.0 else scale(context, node, out, np.array(alpha))


def multiplied(
    context: Context, node: ir.Node, left: Tracked | Array, right: Tracked | Array
) -> Tracked:
    """The product of matrices, vectors or batches of them, at most one of which is constant."""
    if isinstance(left, Tracked) and isinstance(right, Tracked):
        return matrices(context, node, left, right)
    side = 1 if isinstance(left, Tracked) else 0
    # The axis of the other operand that the matrices replace.
    axis = -1 if side == 1 else -2
    x, constant = (left, right) if side == 1 else (right, left)
    assert isinstance(x, Tracked)
    assert not isinstance(constant, Tracked)
    weight = constant.astype(np.float64)
    shape, vector = x.layout.shape, weight.ndim == 1
    if vector:
        weight = weight[:, None] if side == 1 else weight[None]
    _fits(context, node, shape[max(len(shape) + axis, 0)], weight.shape[-2 if side == 1 else -1])
    if weight.ndim > max(len(shape), 2) or max(weight.shape[:-2], default=1) > 1:
        return _batched(context, node, x, weight, axis)
    matrix = _matrix(context, node, weight)
    out = times_matrix(context, node, x, matrix) if side == 1 else _left(context, node, matrix, x)
    return _without(context, node, out, axis) if vector else out


def matrices(context: Context, node: ir.Node, x: Tracked, y: Tracked) -> Tracked:
    """The product of two computed matrices or vectors, or batches of them."""
    ranks = len(x.layout.shape), len(y.layout.shape)
    inner, row, column = "ABC"
    lead = ascii_lowercase[: max(ranks)]
    left = lead[len(lead) - ranks[0] + 2 :] + row + inner if ranks[0] > 1 else inner
    right = lead[len(lead) - ranks[1] + 2 :] + inner + column if ranks[1] > 1 else inner
    _fits(context, node, x.layout.shape[-1], y.layout.shape[max(ranks[1] - 2, 0)])
    batch = lead[len(lead) - max(ranks) + 2 :]
    result = batch + row * (ranks[0] > 1) + column * (ranks[1] > 1)
    return contracted(context, node, x, y, (left, right), result)


def _without(context: Context, node: ir.Node, x: Tracked, axis: int) -> Tracked:
    """`x` without an axis of size 1, counted from the end."""
    shape, batch = x.layout.shape, x.layout.batch
    place = max(len(shape) + axis, 0)
    batch = None if batch is None else batch - (batch > place)
    return context.relayout(x, Layout((*shape[:place], *shape[place + 1 :]), batch), node)


def _batched(context: Context, node: ir.Node, x: Tracked, weight: Floats, axis: int) -> Tracked:
    """Matrices of a constant (..., k, m), or (..., m, k) for `axis` -2, applied along an axis.

    Axes along which they differ are groups of channels, `axis` the channels, the rest positions.
    """
    if len(x.layout.shape) == 1:
        n = x.layout.shape[0]
        row = context.relayout(x, Layout((1, n) if axis == -1 else (n, 1), None))
        return _without(context, node, _batched(context, node, row, weight, axis), -3 - axis)
    lead = np.broadcast_shapes(x.layout.shape[:-2], weight.shape[:-2])
    x = context.broadcast(x, (*lead, *x.layout.shape[-2:]), node)
    rank, batch = len(lead) + 2, x.layout.batch
    place = context.sample_axis(axis, x.layout, node)
    matrices = np.swapaxes(weight, -1, -2) if axis == -1 else weight
    matrices = matrices.reshape((1,) * (rank - weight.ndim) + matrices.shape)
    if batch is not None and batch < rank - 2:
        if np.any(matrices != matrices.take([0], axis=batch)):
            raise context.fail(node, "a constant differs along the batch axis")
        matrices = np.take(matrices, 0, axis=batch)
    # From here on all axes are those of the sample.
    sample, leading = x.layout.sample, matrices.ndim - 2
    groups = [i for i in range(leading) if matrices.shape[i] > 1]
    order = (*groups, place, *(i for i in range(len(sample)) if i not in (*groups, place)))
    count, (out, into) = prod(sample[i] for i in groups), matrices.shape[-2:]
    positions = prod(sample) // (count * into)
    folded = context.transpose(
        context.relayout(x, Layout((1, *sample), 0)), (0, *(i + 1 for i in order)), node
    )
    folded = context.relayout(folded, Layout((1, count * into, positions), 0))
    op = Conv(
        matrices.reshape(count * out, into, 1), np.zeros(count * out), folded.layout.sample,
        (1,), (0, 0), (1,), count,
    )  # fmt: skip
    product = context.emit(op, folded, layout=Layout((1, count * out, positions), 0))
    sizes = [out if i == place else sample[i] for i in order]
    product = context.relayout(product, Layout((1, *sizes), 0))
    back = (0, *(1 + order.index(i) for i in range(len(order))))
    product = context.transpose(product, back, node)
    shape = list(x.layout.shape)
    shape[axis] = out
    return context.relayout(product, Layout(tuple(shape), batch), node)


@legalises("Gemm")
def gemm(context: Context, node: ir.Node) -> Tracked:
    """alpha op(A) op(B) + beta C, each of them constant or computed."""
    alpha = node.attributes.get_float("alpha", 1.0)
    beta = node.attributes.get_float("beta", 1.0)
    trans = [bool(node.attributes.get_int(f"trans{side}", 0)) for side in "AB"]
    constants = [context.constant(node, 0), context.constant(node, 1)]
    if constants[0] is None and constants[1] is None:
        out = _of_two(context, node, trans, alpha)
    else:
        out = _of_one(context, node, constants, trans, alpha)
    if not context.has(node, 2) or beta == 0:
        return out
    constant = context.constant(node, 2)
    if constant is not None:
        return shift(context, node, out, beta * context.to_sample(constant, out.layout, node))
    added = context.computed(node, 2)
    if added.layout != out.layout:
        raise context.fail(node, f"adds a computed value of shape {added.layout.shape}")
    return context.emit(Add(), out, scale(context, node, added, np.array(beta)), layout=out.layout)


def _of_one(
    context: Context, node: ir.Node, constants: list[Array | None], trans: list[bool], alpha: float
) -> Tracked:
    """alpha op(A) op(B) with one of them constant."""
    side = 1 if constants[0] is None else 0
    array = constants[side]
    assert array is not None
    weight = alpha * _matrix(context, node, array.T if trans[side] else array)
    x = _operand(context, node, 1 - side, trans)
    if side == 1:
        _fits(context, node, x.layout.shape[1], weight.shape[0])
        return times_matrix(context, node, x, weight)
    _fits(context, node, x.layout.shape[0], weight.shape[1])
    return _left(context, node, weight, x)


def _of_two(context: Context, node: ir.Node, trans: list[bool], alpha: float) -> Tracked:
    """alpha op(A) op(B) of two computed matrices."""
    x, y = (_operand(context, node, side, trans) for side in (0, 1))
    out = matrices(context, node, x, y)
    return out if alpha == 1.0 else scale(context, node, out, np.array(alpha))


def _operand(context: Context, node: ir.Node, side: int, trans: list[bool]) -> Tracked:
    """op(A) or op(B), computed."""
    x = context.computed(node, side)
    if len(x.layout.shape) != 2:
        raise context.fail(node, f"its input {x.layout.shape} is no matrix")
    return context.transpose(x, (1, 0), node) if trans[side] else x
