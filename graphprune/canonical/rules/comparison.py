"""Comparisons of computed values, and what is made of truths: numbers 0 and 1 here."""

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import negate, operands, plus, scale, shift, sub, total
from graphprune.canonical.rules.trivial import WHOLE
from graphprune.functions import Step
from graphprune.operators import Relu


def step(context: Context, x: Tracked, *, at: float = 0.0, node: ir.Node | None = None) -> Tracked:
    """1 where x > 0, and where x = 0 if `at` is 1; 0 elsewhere."""
    return context.emit(Step(at), x, layout=x.layout, node=node)


@legalises("Greater", "GreaterOrEqual")
def greater(context: Context, node: ir.Node) -> Tracked:
    """A step of x - y: jumps from 0 to 1."""
    return _above(context, node, _difference(context, node), closed=_closed(node))


@legalises("Less", "LessOrEqual")
def less(context: Context, node: ir.Node) -> Tracked:
    """A step of y - x: jumps from 0 to 1."""
    difference = negate(context, node, _difference(context, node))
    return _above(context, node, difference, closed=_closed(node))


def _above(context: Context, node: ir.Node, x: Tracked, *, closed: bool = False) -> Tracked:
    """1 where x > 0, or x >= 0; of whole numbers where it is beyond 1/2 or -1/2.

    So far from all of their values the rounding of bounds decides nothing.
    """
    types = [value.dtype for value in node.inputs if value is not None]
    if all(kind in (*WHOLE, None) for kind in types) and any(types):
        x = shift(context, node, x, np.array(0.5 if closed else -0.5))
    return step(context, x, at=float(closed))


def _closed(node: ir.Node) -> bool:
    return node.op_type.endswith("OrEqual")


def _difference(context: Context, node: ir.Node) -> Tracked:
    """x - y of the two inputs."""
    for index in (0, 1):
        constant = context.constant(node, index)
        if constant is not None and not np.all(np.isfinite(constant.astype(np.float64))):
            raise context.fail(node, "compares with a number that is not finite")
    return sub(context, node)


@legalises("Equal")
def equal(context: Context, node: ir.Node) -> Tracked:
    """1 less the steps of x - y and y - x: jumps from 0 to 1 and back."""
    difference = _difference(context, node)
    sides = [
        _above(context, node, difference),
        _above(context, node, negate(context, node, difference)),
    ]
    apart = total(context, node, *sides)
    return shift(context, node, negate(context, node, apart), np.array(1.0))


@legalises("Not")
def opposite(context: Context, node: ir.Node) -> Tracked:
    """1 - x."""
    return shift(context, node, negate(context, node, context.computed(node, 0)), np.array(1.0))


@legalises("And", "Or", "Xor")
def joined(context: Context, node: ir.Node) -> Tracked:
    """relu(x + y - 1), x + y less that, x + y less twice that, of truths x and y."""
    computed, constants = operands(context, node)
    both = total(context, node, *computed)
    for constant in constants:
        both = plus(context, node, both, constant)
    over = shift(context, node, both, np.array(-1.0))
    conjunction = context.emit(Relu(), over, layout=both.layout)
    if node.op_type == "And":
        return conjunction
    less_this = -1.0 if node.op_type == "Or" else -2.0
    return total(context, node, both, scale(context, node, conjunction, np.array(less_this)))
