"""RotaryEmbedding, and the fused forms of attention of ONNX Runtime's own domain."""

from itertools import pairwise
from math import sqrt

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.canonical.context import RUNTIME, Array, Context, Tracked, legalises
from graphprune.canonical.rules.arithmetic import plus, scale, times, total
from graphprune.canonical.rules.linear import matrices, times_matrix
from graphprune.canonical.rules.softmax import softmax_along
from graphprune.ir.source import Layout

Floats = NDArray[np.float64]


@legalises("RotaryEmbedding")
def rotary_embedding(context: Context, node: ir.Node) -> Tracked:
    """Pairs of cells (a, b) of a head become (a cos - b sin, a sin + b cos), with constant tables
    and positions; other cells stay."""
    positions = _optional(context, node, 3, "positions")
    return _rotated(context, node, (1, 2), positions)


@legalises("RotaryEmbedding", domain=RUNTIME)
def own_rotary_embedding(context: Context, node: ir.Node) -> Tracked:
    """As ONNX's own; one position is that of the first token."""
    positions = context.need_constant(node, 1, "positions").astype(np.int64)
    factor = context.number(node, "scale", 1.0)
    if node.attributes.get_int("is_packed_batching", 0) or factor != 1.0:
        raise context.fail(node, "packed batches and scales are not supported")
    if positions.size == 1:
        shape = context.computed(node, 0).layout.shape
        positions = positions.reshape(1, 1) + np.arange(shape[-2])
    return _rotated(context, node, (2, 3), positions)


def _rotated(
    context: Context, node: ir.Node, tables: tuple[int, int], positions: Array | None
) -> Tracked:
    x = context.computed(node, 0)
    cos, sin = (
        context.need_constant(node, i, name).astype(np.float64)
        for i, name in zip(tables, ("cosines", "sines"), strict=True)
    )
    given = x.layout
    if positions is not None:
        cos, sin = (table[positions.astype(np.int64)] for table in (cos, sin))
    pairs = cos.shape[-1]
    flat = len(given.shape) == 3
    if flat:  # (batch, tokens, heads x cells)
        size = given.shape[2]
        heads = node.attributes.get_int("num_heads", 0) or size // (2 * pairs)
        shape = (*given.shape[:2], heads, size // heads)
        x = context.relayout(x, Layout(shape, given.batch))
        cos, sin = (table[..., None, :] for table in (cos, sin))
    elif len(given.shape) == 4:  # (batch, heads, tokens, cells)
        cos, sin = (table[..., None, :, :] for table in (cos, sin))
    else:
        raise context.fail(node, f"its input {given.shape} has neither 3 nor 4 axes")
    cells = x.layout.shape[-1]
    turned = node.attributes.get_int("rotary_embedding_dim", 0) or cells
    if turned != 2 * pairs or turned > cells:
        raise context.fail(node, f"turns {turned} of {cells} cells by tables of {pairs}")
    first = np.arange(pairs) * (2 if node.attributes.get_int("interleaved", 0) else 1)
    second = first + (1 if node.attributes.get_int("interleaved", 0) else pairs)
    partner = np.arange(cells)
    partner[first], partner[second] = second, first
    kept = np.ones((*cos.shape[:-1], cells))
    moved = np.zeros_like(kept)
    kept[..., first], kept[..., second] = cos, cos
    moved[..., first], moved[..., second] = -sin, sin
    exchanged = context.gather(x, len(x.layout.shape) - 1, partner, node)
    out = total(
        context, node, times(context, node, x, kept), times(context, node, exchanged, moved)
    )
    return context.relayout(out, given, node)


@legalises("Attention", domain=RUNTIME)
def attention(context: Context, node: ir.Node) -> Tracked:
    """softmax(Q K' s) V of every head, with Q, K and V of one value by constant weights."""
    _only(context, node, (0, 1, 2, 5), 1)
    x = context.computed(node, 0)
    weight = context.need_constant(node, 1, "weights").astype(np.float64)
    bias = _optional(context, node, 2, "bias")
    third = weight.shape[1] // 3
    sizes = list(node.attributes.get_ints("qkv_hidden_sizes", (third,) * 3))
    ends = np.cumsum([0, *sizes])
    parts = []
    for first, last in pairwise(ends):
        part = times_matrix(context, node, x, weight[:, first:last])
        parts.append(part if bias is None else plus(context, node, part, bias[first:last]))
    return _heads(context, node, parts, 5)


@legalises("MultiHeadAttention", domain=RUNTIME)
def multi_head_attention(context: Context, node: ir.Node) -> Tracked:
    """softmax(Q K' s) V of every head, with Q, K and V computed."""
    _only(context, node, (0, 1, 2, 3, 5), 1)
    parts = [context.computed(node, i) for i in range(3)]
    if any(len(x.layout.shape) != 3 for x in parts):
        raise context.fail(node, "only queries, keys and values of three axes are supported")
    bias, first = _optional(context, node, 3, "bias"), 0
    if bias is not None:
        for i, x in enumerate(parts):
            last = first + x.layout.shape[2]
            parts[i], first = plus(context, node, x, bias[first:last]), last
    return _heads(context, node, parts, 5)


def _only(context: Context, node: ir.Node, inputs: tuple[int, ...], outputs: int) -> None:
    """Refuse inputs and outputs that are not supported: masks by length and pasts."""
    for index in range(len(node.inputs)):
        if index not in inputs and context.has(node, index):
            raise context.fail(node, f"its input {index} (a mask or a past) is not supported")
    if any(out.uses() for out in node.outputs[outputs:]):
        raise context.fail(node, "its present keys and values are used: only the first output is")
    if node.attributes.get_int("do_rotary", 0):
        raise context.fail(node, "do_rotary is not supported")


def _heads(context: Context, node: ir.Node, parts: list[Tracked], bias: int) -> Tracked:
    """softmax(Q K' s + bias) V of values (batch, tokens, heads x cells)."""
    count = node.attributes.get_int("num_heads", 1)
    split = []
    for x in parts:
        batch, tokens, size = x.layout.shape
        if size % count:
            raise context.fail(node, f"{size} cells do not make {count} heads")
        wide = Layout((batch, tokens, count, size // count), x.layout.batch)
        split.append(context.transpose(context.relayout(x, wide), (0, 2, 1, 3), node))
    query, key, value = split
    size = query.layout.shape[3]
    factor = context.number(node, "scale", 0.0) or 1.0 / sqrt(size)
    turned = context.transpose(key, (0, 1, 3, 2), node)
    scores = scale(context, node, matrices(context, node, query, turned), np.array(factor))
    if context.has(node, bias):
        added = context.constant(node, bias)
        if added is None:
            scores = total(context, node, scores, context.computed(node, bias))
        else:
            scores = plus(context, node, scores, added)
    if node.attributes.get_int("unidirectional", 0):
        rows, columns = scores.layout.shape[2:]
        later = np.triu(np.ones((rows, columns), bool), 1 + columns - rows)
        scores = plus(context, node, scores, np.where(later, -np.inf, 0.0))
    weights = softmax_along(context, node, scores, 3)
    out = context.transpose(matrices(context, node, weights, value), (0, 2, 1, 3), node)
    shape = out.layout.shape
    layout = Layout((shape[0], shape[1], shape[2] * shape[3]), out.layout.batch)
    return context.relayout(out, layout, node)


def _optional(context: Context, node: ir.Node, index: int, name: str) -> Floats | None:
    """A constant operand that may be missing."""
    if not context.has(node, index):
        return None
    found: Floats = context.need_constant(node, index, name).astype(np.float64)
    return found
