"""Products of computed values, element by element and contracted over axes."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, SharedFactor, Tracked, legalises
from graphprune.canonical.memory import NUMBER, VALUE, value_too_large
from graphprune.canonical.rules.arithmetic import operands, summed, times
from graphprune.functions import Factor, Power, Product, Reciprocal, Sqrt
from graphprune.ir.network import (
    data_inputs,
    interval_suffices,
    is_activation,
    operator,
    pre_activation,
)
from graphprune.ir.source import Layout
from graphprune.operators import Concat, Gather, ReduceSum, Reshape, Transpose

# Operators whose output holds cells of their input.
MOVES = (Gather, Reshape, Transpose)


def squared(context: Context, node: ir.Node, x: Tracked) -> Tracked:
    """x x."""
    return context.emit(Power(2.0), x, layout=x.layout)


def product(context: Context, node: ir.Node, x: Tracked, y: Tracked) -> Tracked:
    """x y, broadcast: the sum of the halves of what a `Product` makes of both."""
    if x.value is y.value and x.layout == y.layout:
        return context.emit(Power(2.0), x, layout=x.layout, node=node)
    one, other = context.align(node, factor(context, x), factor(context, y))
    layout, sample = one.layout, one.layout.sample
    rows = Layout((1, 1, *sample), 0)
    pair = Layout((1, 2, *sample), 0)
    factors = [context.relayout(value, rows) for value in (one, other)]
    joined = context.emit(Concat(0, (rows.sample, rows.sample)), *factors, layout=pair)
    halves = context.emit(Product(pair.sample), joined, layout=pair)
    both = context.emit(ReduceSum((0,), pair.sample), halves, layout=rows)
    out = context.relayout(both, layout, node)
    for values, gate in ((x, y), (y, x)):
        if values.layout == layout and gate.layout.size < layout.size:
            return replace(out, shared=SharedFactor(values, gate, np.array(1.0), np.array(0.0)))
    return out


def factor(context: Context, x: Tracked) -> Tracked:
    """`x` as a value that has bounds of its own."""
    value: ir.Value | None = x.value
    while (made := None if value is None else value.producer()) is not None:
        if not isinstance(operator(made), MOVES):
            break
        value = data_inputs(made)[0]
    if made is None or (is_activation(operator(made)) and not interval_suffices(operator(made))):
        return x
    return context.emit(Factor(), x, layout=x.layout)


def spread(context: Context, x: Tracked, axes: str, wanted: str) -> Tracked:
    """`x`, whose axes are called `axes`, with axes of size 1 where `wanted` has more names.

    The names of `axes` come in the order of `wanted`.
    """
    sizes = dict(zip(axes, x.layout.shape, strict=True))
    batch = x.layout.batch
    place = None if batch is None else wanted.index(axes[batch])
    return context.relayout(x, Layout(tuple(sizes.get(a, 1) for a in wanted), place))


def contracted(
    context: Context, node: ir.Node, x: Tracked, y: Tracked, terms: tuple[str, str], result: str
) -> Tracked:
    """The sum of products that an equation such as ``ik,kj->ij`` says.

    Parameters
    ----------
    terms
        Names of the axes of x and y, each once per operand.
    result
        Names of the result's axes; the others are summed.
    """
    batches = [
        None if v.layout.batch is None else axes[v.layout.batch]
        for v, axes in zip((x, y), terms, strict=True)
    ]
    if context.batch_size == 1 and None not in batches and batches[0] != batches[1]:
        y = context.relayout(y, Layout(y.layout.shape, None))
    free = [a for a in terms[0] + terms[1] if a not in result]
    names = result + "".join(dict.fromkeys(free))
    parts = []
    for value, axes in zip((x, y), terms, strict=True):
        ordered = "".join(a for a in names if a in axes)
        value = context.transpose(value, tuple(axes.index(a) for a in ordered), node)
        parts.append(spread(context, value, ordered, names))
    shape = np.broadcast_shapes(*(part.layout.shape for part in parts))
    size = NUMBER * int(np.prod(shape, dtype=object)) // context.batch_size
    if size > VALUE:
        raise context.fail(node, f"multiplies computed values, {value_too_large(size)}")
    out = product(context, node, *parts)
    if out.layout.batch is not None and out.layout.batch >= len(result):
        raise context.fail(node, "contracts the batch axis")
    if len(names) == len(result):
        return out
    summed_up = summed(context, node, out, list(range(len(result), len(names))))
    summed_up = context.emit(Factor(interval_suffices=True), summed_up, layout=summed_up.layout)
    return context.relayout(
        summed_up, Layout(summed_up.layout.shape[: len(result)], out.layout.batch)
    )


@legalises("Mul")
def mul(context: Context, node: ir.Node) -> Tracked:
    """c x is a scale, x x a square, x y a product, bounded by McCormick's planes."""
    computed, constants = operands(context, node)
    if len(computed) == 2:
        return product(context, node, *computed)
    return times(context, node, computed[0], constants[0])


@legalises("Div")
def div(context: Context, node: ir.Node) -> Tracked:
    """x / c is a scale by 1/c, x / y the product of x and the reciprocal of y, x / sqrt(y) that of
    x and y^(-1/2)."""
    constant = context.constant(node, 1)
    if constant is None:
        inverse, numerator = inverted(context, context.computed(node, 1)), context.constant(node, 0)
        if numerator is None:
            return product(context, node, context.computed(node, 0), inverse)
        return times(context, node, inverse, numerator)
    if np.any(constant == 0):
        raise context.fail(node, "divides by zero")
    return times(context, node, context.computed(node, 0), 1.0 / constant.astype(np.float64))


def inverted(context: Context, x: Tracked) -> Tracked:
    """1 / x; y^(-1/2) where x is the square root of y."""
    root = x.value.producer()
    if root is not None and isinstance(operator(root), Sqrt):
        below = Tracked(pre_activation(root), x.layout)
        return context.emit(Power(-0.5), below, layout=x.layout)
    return context.emit(Reciprocal(), x, layout=x.layout)
