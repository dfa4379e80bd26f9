"""Flatten, Reshape, Transpose, Squeeze, Unsqueeze: all of them only move data."""

from math import prod

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Context, Tracked, legalises
from graphprune.ir.source import Layout


@legalises("Flatten")
def flatten(context: Context, node: ir.Node) -> Tracked:
    """Row-major reshape to two axes."""
    x = context.computed(node, 0)
    shape = x.layout.shape
    axis = node.attributes.get_int("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return context.reshape(x, (prod(shape[:axis]), prod(shape[axis:])), node)


@legalises("Reshape")
def reshape(context: Context, node: ir.Node) -> Tracked:
    """Row-major reshape; the batch axis may not be mixed with others."""
    x = context.computed(node, 0)
    target = [int(n) for n in np.ravel(context.need_constant(node, 1, "target shape"))]
    if not node.attributes.get_int("allowzero", 0):
        if any(n == 0 and i >= len(x.layout.shape) for i, n in enumerate(target)):
            raise context.fail(node, f"target shape {target} copies an axis that is not there")
        target = [x.layout.shape[i] if n == 0 else n for i, n in enumerate(target)]
    if target.count(-1) == 1:
        rest = prod(n for n in target if n != -1)
        if rest <= 0 or prod(x.layout.shape) % rest:
            raise context.fail(node, f"cannot reshape {x.layout.shape} to {target}")
        target[target.index(-1)] = prod(x.layout.shape) // rest
    if any(n < 0 for n in target):
        raise context.fail(node, f"target shape {target} is not valid")
    batch = x.layout.batch
    if (
        batch is not None
        and (n := x.layout.shape[batch]) > 1
        and n * prod(target) == prod(x.layout.shape)
    ):
        # Exported for one sample with the batch written as the number 1.
        raise context.fail(node, f"target shape {target} fixes the batch at 1; export with -1")
    return context.reshape(x, tuple(target), node)


@legalises("Transpose")
def transpose(context: Context, node: ir.Node) -> Tracked:
    """Axes permuted."""
    x = context.computed(node, 0)
    rank = len(x.layout.shape)
    perm = node.attributes.get_ints("perm", tuple(reversed(range(rank))))
    return context.transpose(x, tuple(perm), node)


def _axes(context: Context, node: ir.Node) -> tuple[int, ...] | None:
    if context.has(node, 1):
        return tuple(int(a) for a in np.ravel(context.need_constant(node, 1, "axes")))
    axes = node.attributes.get_ints("axes", None)
    return None if axes is None else tuple(axes)


@legalises("Squeeze")
def squeeze(context: Context, node: ir.Node) -> Tracked:
    """Axes of size 1 dropped."""
    x = context.computed(node, 0)
    shape = x.layout.shape
    axes = _axes(context, node)
    if axes is None:
        axes = tuple(i for i, length in enumerate(shape) if length == 1)
    drop = {axis % len(shape) for axis in axes}
    if any(shape[axis] != 1 for axis in drop):
        raise context.fail(node, f"axes {axes} of {shape} are not all of size 1")
    left = [axis for axis in range(len(shape)) if axis not in drop]
    result, batch = tuple(shape[axis] for axis in left), x.layout.batch
    if batch in drop:  # of size 1: another axis may take its place
        return context.reshape(x, result, node)
    layout = Layout(result, None if batch is None else left.index(batch))
    return context.relayout(x, layout, node)


@legalises("Unsqueeze")
def unsqueeze(context: Context, node: ir.Node) -> Tracked:
    """Axes of size 1 added."""
    x = context.computed(node, 0)
    axes = _axes(context, node)
    if axes is None:
        raise context.fail(node, "has no axes")
    rank = len(x.layout.shape) + len(axes)
    new = {axis % rank for axis in axes}
    kept = [axis for axis in range(rank) if axis not in new]
    shape = [1] * rank
    for axis, length in zip(kept, x.layout.shape, strict=True):
        shape[axis] = length
    batch = x.layout.batch
    # Told here, not found by its length: in a batch of 1 any new axis has that.
    layout = Layout(tuple(shape), None if batch is None else kept[batch])
    return context.relayout(x, layout, node)
