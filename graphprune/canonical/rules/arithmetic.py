"""Add, Sub, Mul, Div, Neg, Sum, Mean, Pow: shifts, scales, sums of computed values."""

from functools import reduce

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Array, Context, Tracked, legalises
from graphprune.canonical.refusals import product_reason
from graphprune.operators import Add, Scale, Shift

Floats = NDArray[np.float64]


def shift(context: Context, node: ir.Node, x: Tracked, offset: NDArray[np.float64]) -> Tracked:
    return context.emit(Shift(offset, x.layout.sample), x, layout=x.layout, node=node)


def scale(context: Context, node: ir.Node, x: Tracked, factor: NDArray[np.float64]) -> Tracked:
    return context.emit(Scale(factor, x.layout.sample), x, layout=x.layout, node=node)


def negate(context: Context, node: ir.Node, x: Tracked) -> Tracked:
    return scale(context, node, x, np.array(-1.0))


def total(context: Context, node: ir.Node, *values: Tracked) -> Tracked:
    """Sum of computed values, broadcast to each other."""

    def both(x: Tracked, y: Tracked) -> Tracked:
        return context.emit(Add(), x, y, layout=x.layout, node=node)

    return reduce(both, context.align(node, *values))


def plus(context: Context, node: ir.Node, x: Tracked, constant: Array) -> Tracked:
    x = context.enlarged(x, constant, node)
    return shift(context, node, x, context.to_sample(constant, x.layout, node))


def times(context: Context, node: ir.Node, x: Tracked, constant: Array) -> Tracked:
    x = context.enlarged(x, constant, node)
    return scale(context, node, x, context.to_sample(constant, x.layout, node))


def operands(context: Context, node: ir.Node) -> tuple[list[Tracked], list[Floats]]:
    """The computed and the constant inputs of a commutative operator."""
    constants = [context.constant(node, i) for i in range(len(node.inputs))]
    computed = [context.computed(node, i) for i, c in enumerate(constants) if c is None]
    return computed, [c.astype(np.float64) for c in constants if c is not None]


@legalises("Add", "Sum")
def add(context: Context, node: ir.Node) -> Tracked:
    """x + c is a shift, x + y a sum; both broadcast."""
    computed, constants = operands(context, node)
    x = total(context, node, *computed)
    return reduce(lambda y, c: plus(context, node, y, c), constants, x)


@legalises("Mean")
def mean(context: Context, node: ir.Node) -> Tracked:
    """(x1 + ... + xn) / n."""
    return scale(context, node, add(context, node), np.array(1.0 / len(node.inputs)))


@legalises("Sub")
def sub(context: Context, node: ir.Node) -> Tracked:
    """x - c is a shift, c - x a shift of -x, x - y a sum with -y."""
    left, right = context.constant(node, 0), context.constant(node, 1)
    if right is not None:
        return plus(context, node, context.computed(node, 0), -right.astype(np.float64))
    minus = negate(context, node, context.computed(node, 1))
    if left is not None:
        return plus(context, node, minus, left)
    return total(context, node, context.computed(node, 0), minus)


@legalises("Mul")
def mul(context: Context, node: ir.Node) -> Tracked:
    """c x is a scale; a product of two computed values is refused."""
    computed, constants = operands(context, node)
    if len(computed) != 1:
        raise context.fail(node, product_reason(node))
    return times(context, node, computed[0], constants[0])


@legalises("Div")
def div(context: Context, node: ir.Node) -> Tracked:
    """x / c is a scale by 1/c."""
    constant = context.constant(node, 1)
    if constant is None:
        raise context.fail(node, "divides by a computed value: the network is not piecewise linear")
    if np.any(constant == 0):
        raise context.fail(node, "divides by zero")
    return times(context, node, context.computed(node, 0), 1.0 / constant.astype(np.float64))


@legalises("Pow")
def power(context: Context, node: ir.Node) -> Tracked:
    """x ** 1 is x; other exponents are refused."""
    exponent = context.constant(node, 1)
    if exponent is None or np.any(exponent != 1):
        raise context.fail(node, "raises a computed value to a power: not piecewise linear")
    return context.enlarged(context.computed(node, 0), exponent, node)


@legalises("Neg")
def neg(context: Context, node: ir.Node) -> Tracked:
    """-x."""
    return negate(context, node, context.computed(node, 0))
