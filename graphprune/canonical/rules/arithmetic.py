"""Add, Sub, Mul, Div, Neg: shifts and scales by constants, sums of two computed values."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.operators import Add, Scale, Shift


def shift(context: Context, node: ir.Node, x: Tracked, offset: NDArray[np.float64]) -> Tracked:
    return context.emit(Shift(offset, x.layout.sample), x, layout=x.layout, node=node)


def scale(context: Context, node: ir.Node, x: Tracked, factor: NDArray[np.float64]) -> Tracked:
    return context.emit(Scale(factor, x.layout.sample), x, layout=x.layout, node=node)


def _operands(
    context: Context, node: ir.Node
) -> tuple[Tracked | None, Tracked | None, NDArray[np.float64]]:
    """(computed left, computed right, constant for the sample); one of them is missing."""
    left, right = context.constant(node, 0), context.constant(node, 1)
    if left is not None:
        y = context.computed(node, 1)
        return None, y, context.to_sample(left, y.layout, node)
    x = context.computed(node, 0)
    if right is not None:
        return x, None, context.to_sample(right, x.layout, node)
    return x, context.computed(node, 1), np.zeros(())


def _both(context: Context, node: ir.Node, x: Tracked, y: Tracked) -> Tracked:
    if x.layout != y.layout:
        raise context.fail(
            node,
            f"adds computed values of different shapes {x.layout.shape} and {y.layout.shape}",
        )
    return context.emit(Add(), x, y, layout=x.layout, node=node)


@legalises("Add")
def add(context: Context, node: ir.Node) -> Tracked:
    x, y, constant = _operands(context, node)
    if x is not None and y is not None:
        return _both(context, node, x, y)
    computed = x or y
    assert computed is not None
    return shift(context, node, computed, constant)


@legalises("Sub")
def sub(context: Context, node: ir.Node) -> Tracked:
    x, y, constant = _operands(context, node)
    if y is None:
        assert x is not None
        return shift(context, node, x, -constant)
    minus = scale(context, node, y, np.array(-1.0))
    if x is None:
        return shift(context, node, minus, constant)
    return _both(context, node, x, minus)


@legalises("Mul")
def mul(context: Context, node: ir.Node) -> Tracked:
    x, y, constant = _operands(context, node)
    if x is not None and y is not None:
        raise context.fail(
            node, "multiplies two computed values: the network is not piecewise linear"
        )
    computed = x or y
    assert computed is not None
    return scale(context, node, computed, constant)


@legalises("Div")
def div(context: Context, node: ir.Node) -> Tracked:
    x, y, constant = _operands(context, node)
    if y is not None or x is None:
        raise context.fail(node, "divides by a computed value: the network is not piecewise linear")
    if np.any(constant == 0):
        raise context.fail(node, "divides by zero")
    return scale(context, node, x, 1.0 / constant)


@legalises("Neg")
def neg(context: Context, node: ir.Node) -> Tracked:
    return scale(context, node, context.computed(node, 0), np.array(-1.0))
