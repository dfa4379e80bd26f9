"""Add, Sub, Neg, Sum, Mean, Pow: shifts, scales, sums of computed values."""

from dataclasses import replace
from functools import reduce

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Array, Context, Tracked, legalises
from graphprune.functions import Exp, Power
from graphprune.ir.source import Layout
from graphprune.operators import Add, ReduceSum, Scale, Shift

Floats = NDArray[np.float64]

# Lower constants are how exporters mask a cell: no other number is seen beside them.
MASKED = -1e30


def shift(context: Context, node: ir.Node, x: Tracked, offset: NDArray[np.float64]) -> Tracked:
    out = context.emit(Shift(offset, x.layout.sample), x, layout=x.layout, node=node)
    if x.shared is None:
        return out
    return replace(out, shared=replace(x.shared, offset=x.shared.offset + offset))


def scale(context: Context, node: ir.Node, x: Tracked, factor: NDArray[np.float64]) -> Tracked:
    out = context.emit(Scale(factor, x.layout.sample), x, layout=x.layout, node=node)
    if x.shared is None:
        return out
    gain, offset = (part * factor for part in (x.shared.gain, x.shared.offset))
    return replace(out, shared=replace(x.shared, gain=gain, offset=offset))


def negate(context: Context, node: ir.Node, x: Tracked) -> Tracked:
    return scale(context, node, x, np.array(-1.0))


def total(context: Context, node: ir.Node, *values: Tracked) -> Tracked:
    """Sum of computed values, broadcast to each other."""

    def both(x: Tracked, y: Tracked) -> Tracked:
        return context.emit(Add(), x, y, layout=x.layout, node=node)

    return reduce(both, context.align(node, *values))


def summed(context: Context, node: ir.Node, x: Tracked, axes: list[int]) -> Tracked:
    """Sum over the file's axes, kept as axes of size 1."""
    if not axes:
        return x
    sample_axes = tuple(context.sample_axis(a, x.layout, node) for a in axes)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.layout.shape))
    op = ReduceSum(sample_axes, x.layout.sample)
    return context.emit(op, x, layout=Layout(shape, x.layout.batch))


def plus(context: Context, node: ir.Node, x: Tracked, constant: Array) -> Tracked:
    """x + c; cells where c is -inf, or as low as masks write it, are absent."""
    x = context.enlarged(x, constant, node)
    offset = context.to_sample(constant, x.layout, node)
    if not np.any(offset <= MASKED):
        return shift(context, node, x, offset)
    absent = np.broadcast_to(offset <= MASKED, x.layout.sample)
    kept = shift(context, node, x, np.where(offset <= MASKED, 0.0, offset))
    return replace(kept, absent=absent)


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


@legalises("Pow")
def power(context: Context, node: ir.Node) -> Tracked:
    """x^p with one constant p for all of x is kept (x^1 is x); a positive constant to the x is
    exp(x log c)."""
    exponent, base = context.constant(node, 1), context.constant(node, 0)
    if exponent is None:
        if base is not None and base.dtype.kind != "f":
            raise context.fail(node, "powers of a whole number are rounded to whole numbers")
        wide = None if base is None else base.astype(np.float64)
        if wide is None or not np.all(wide > 0.0):
            raise context.fail(node, "raises a computed or not positive value to a computed power")
        x = times(context, node, context.computed(node, 1), np.log(wide))
        return context.emit(Exp(), x, layout=x.layout, node=node)
    x = context.enlarged(context.computed(node, 0), exponent, node)
    powers = np.unique(exponent)
    if len(powers) != 1 or not np.isfinite(powers[0]):
        raise context.fail(node, "its exponent must be one finite number for the whole tensor")
    found = float(powers[0])
    if found == 1.0:
        return x
    if found == 0.0:
        return plus(context, node, scale(context, node, x, np.array(0.0)), np.array(1.0))
    return context.emit(Power(found), x, layout=x.layout, node=node)


@legalises("Neg")
def neg(context: Context, node: ir.Node) -> Tracked:
    """-x."""
    return negate(context, node, context.computed(node, 0))
