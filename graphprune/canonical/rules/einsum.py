"""Einsum of one computed value, alone or with a constant operand, and of two."""

from math import prod
from string import ascii_letters

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import scale, summed
from graphprune.canonical.rules.linear import along_axis
from graphprune.canonical.rules.products import contracted
from graphprune.ir.source import Layout

Floats = NDArray[np.float64]


@legalises("Einsum")
def einsum(context: Context, node: ir.Node) -> Tracked:
    """Sums of products of one computed value, alone or with a constant: axes summed, contracted as
    by MatMul, permuted; axes that a constant and it both keep (batches of matrices, scaling) are
    refused. Of two computed values a sum of products."""
    terms, result = _equation(context, node)
    computed = [i for i in range(len(terms)) if context.constant(node, i) is None]
    if len(terms) > 2:
        raise context.fail(node, "takes more than two operands")
    values = {i: _named(context, node, i, terms[i]) for i in computed}
    if len(computed) == 2:
        return contracted(context, node, values[0], values[1], (terms[0], terms[1]), result)
    axes, x = terms[computed[0]], values[computed[0]]
    weight, names = np.ones(()), ""
    if len(terms) == 2:
        other = 1 - computed[0]
        weight = context.need_constant(node, other, "operand").astype(np.float64)
        names = terms[other]
    x, axes = _summed(context, node, x, axes, names + result)
    inner = [a for a in axes if a in names and a not in result]
    if shared := [a for a in axes if a in names and a in result]:
        raise context.fail(node, f"keeps axis '{shared[0]}' of both: no product of matrices")
    free = "".join(a for a in result if a not in axes)
    # Axes of the constant alone that the result has not are summed here.
    matrix = np.einsum(f"{names}->{free}{''.join(inner)}", weight)
    x, axes = _product(context, node, x, axes, "".join(inner), free, matrix)
    return context.transpose(x, tuple(axes.index(a) for a in result), node)


def _named(context: Context, node: ir.Node, index: int, axes: str) -> Tracked:
    """A computed operand, all of whose axes have names."""
    x = context.computed(node, index)
    if len(axes) != len(x.layout.shape) or len(set(axes)) != len(axes):
        raise context.fail(node, f"'{axes}' does not name every axis of {x.layout.shape} once")
    return x


def _equation(context: Context, node: ir.Node) -> tuple[list[str], str]:
    """The axes of the operands, and those of the result."""
    equation = node.attributes.get_string("equation", "").replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    letters = set("".join(terms))
    if not letters <= set(ascii_letters) or len(terms) != len(node.inputs):
        raise context.fail(node, f"equation '{equation}' is not supported: name every axis")
    if not arrow:
        joined = "".join(terms)
        result = "".join(sorted(a for a in letters if joined.count(a) == 1))
    if not set(result) <= letters or len(set(result)) != len(result):
        raise context.fail(node, f"equation '{equation}' is not valid")
    return terms, result


def _summed(
    context: Context, node: ir.Node, x: Tracked, axes: str, needed: str
) -> tuple[Tracked, str]:
    """`x` summed over the axes that nothing else names."""
    dropped = [i for i, a in enumerate(axes) if a not in needed]
    x = summed(context, node, x, dropped)
    shape = tuple(n for i, n in enumerate(x.layout.shape) if i not in dropped)
    batch = x.layout.batch
    batch = None if batch is None else batch - sum(i < batch for i in dropped)
    return context.relayout(x, Layout(shape, batch)), "".join(a for a in axes if a in needed)


def _product(
    context: Context, node: ir.Node, x: Tracked, axes: str, contracted: str, free: str,
    matrix: Floats,
) -> tuple[Tracked, str]:  # fmt: skip
    """The `contracted` axes of `x` replaced by the `free` ones of the constant, at the end."""
    if not contracted and not free:
        return scale(context, node, x, matrix), axes
    kept = "".join(a for a in axes if a not in contracted)
    x = context.transpose(x, tuple(axes.index(a) for a in kept + contracted), node)
    shape, batch = x.layout.shape[: len(kept)], x.layout.batch
    if batch is not None and batch >= len(kept):
        raise context.fail(node, "contracts the batch axis")
    sizes = matrix.shape[: len(free)]
    inner = prod(x.layout.shape[len(kept) :])
    flat = context.relayout(x, Layout((*shape, inner), batch))
    out = along_axis(context, node, flat, len(kept), matrix.reshape(prod(sizes), inner))
    return context.relayout(out, Layout((*shape, *sizes), batch)), kept + free
