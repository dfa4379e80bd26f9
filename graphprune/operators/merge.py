"""Which pairs of affine operators are one operator: the algebra of fusion, one rule per pair."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import gcd, prod

import numpy as np
from numpy.typing import NDArray

from graphprune.ir.network import AffineOperator
from graphprune.operators.conv import Conv
from graphprune.operators.cost import NOTHING, cost
from graphprune.operators.dense import Dense
from graphprune.operators.pad import Pad
from graphprune.operators.reshape import Reshape
from graphprune.operators.scale import Scale
from graphprune.operators.shift import Shift
from graphprune.operators.transpose import Transpose

Floats = NDArray[np.float64]
# A merged pair: no operator (identity), one, or two in an order that lets others merge.
Merged = tuple[AffineOperator, ...] | None
PairRule = Callable[..., Merged]

# A merged row may be this much smaller than the terms it is a sum of.
CANCELLED = 1e4

PAIRS: dict[tuple[type, type], PairRule] = {}


def pair(first: type, second: type) -> Callable[[PairRule], PairRule]:
    def wrap(rule: PairRule) -> PairRule:
        PAIRS[first, second] = rule
        return rule

    return wrap


def merge(first: AffineOperator, second: AffineOperator) -> Merged:
    """Operators that compute ``second(first(x))``, or None where the pair stays as it is."""
    rule = PAIRS.get((type(first), type(second)))
    return None if rule is None else rule(first, second)


def _cancels(terms: Floats, made: Floats) -> bool:
    """True where what is left of sums of `terms` (rows,), in absolute value, is little: `made`.

    Terms that cancel leave their rounding behind, which nobody could tell from the merged operator.
    """
    return bool(np.any(terms > CANCELLED * made))


def _rows(weight: Floats, bias: Floats | float = 0.0) -> Floats:
    """Sums of absolute values (rows,)."""
    total: Floats = np.abs(weight).reshape(len(weight), -1).sum(axis=1) + np.abs(bias)
    return total


def _flat(array: Floats, shape: tuple[int, ...]) -> Floats:
    return np.broadcast_to(array, shape).reshape(-1)


def _per_channel(array: Floats, shape: tuple[int, ...]) -> Floats | None:
    """One number per channel where `array` is constant over each channel of `shape`."""
    full = np.broadcast_to(array, shape).reshape(shape[0], -1)
    return full[:, 0].copy() if np.all(full == full[:, :1]) else None


@pair(Dense, Dense)
def dense_dense(first: Dense, second: Dense) -> Merged:
    """W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2), where that is no more work."""
    rows, columns = second.weight.shape[0], first.weight.shape[1]
    if rows * columns > first.weight.size + second.weight.size:
        return None
    weight, bias = second.weight @ first.weight, second.weight @ first.bias + second.bias
    terms = np.abs(second.weight) @ _rows(first.weight, first.bias) + np.abs(second.bias)
    return None if _cancels(terms, _rows(weight, bias)) else (Dense(weight, bias),)


@pair(Dense, Scale)
def dense_scale(first: Dense, second: Scale) -> Merged:
    """s (W x + b) = (diag(s) W) x + s b."""
    s = _flat(second.scale, second.shape)
    return (Dense(s[:, None] * first.weight, s * first.bias),)


@pair(Dense, Shift)
def dense_shift(first: Dense, second: Shift) -> Merged:
    return (replace(first, bias=first.bias + _flat(second.offset, second.shape)),)


@pair(Scale, Dense)
def scale_dense(first: Scale, second: Dense) -> Merged:
    """W diag(s)."""
    return (replace(second, weight=second.weight * _flat(first.scale, first.shape)[None]),)


@pair(Shift, Dense)
def shift_dense(first: Shift, second: Dense) -> Merged:
    """W (x + o) + b = W x + (W o + b)."""
    o = _flat(first.offset, first.shape)
    bias = second.bias + second.weight @ o
    terms = np.abs(second.weight) @ np.abs(o) + np.abs(second.bias)
    if _cancels(terms, _rows(second.weight, bias)):
        return None
    return (replace(second, bias=bias),)


@pair(Conv, Scale)
def conv_scale(first: Conv, second: Scale) -> Merged:
    s = _per_channel(second.scale, second.shape)
    if s is None:
        return None
    axes = (slice(None), *(None for _ in first.weight.shape[1:]))
    return (replace(first, weight=first.weight * s[axes], bias=first.bias * s),)


@pair(Conv, Shift)
def conv_shift(first: Conv, second: Shift) -> Merged:
    o = _per_channel(second.offset, second.shape)
    return None if o is None else (replace(first, bias=first.bias + o),)


@pair(Scale, Conv)
def scale_conv(first: Scale, second: Conv) -> Merged:
    """Padding is zero and stays zero, so a factor per input channel moves into the weight."""
    s = _per_channel(first.scale, first.shape)
    if s is None:
        return None
    per_group = s.reshape(second.group, 1, -1)
    weight = second.weight.reshape(second.group, -1, *second.weight.shape[1:])
    axes = (..., *(None for _ in second.weight.shape[2:]))
    return (replace(second, weight=(weight * per_group[axes]).reshape(second.weight.shape)),)


def _image(conv: Conv, x: Floats, *, bias: bool = True) -> Floats:
    """The convolution of one sample (channels, *spatial), in float64."""
    rank = len(conv.strides)
    pads = [(0, 0), *zip(conv.pads[:rank], conv.pads[rank:], strict=True)]
    padded = np.pad(x, pads)
    channels, *lengths = conv.output_shape()
    weight = conv.weight.reshape(conv.group, channels // conv.group, *conv.weight.shape[1:])
    out = np.zeros((conv.group, channels // conv.group, *lengths))
    for tap in np.ndindex(*conv.weight.shape[2:]):
        cells = tuple(
            slice(d * k, d * k + s * (n - 1) + 1, s)
            for d, k, s, n in zip(conv.dilations, tap, conv.strides, lengths, strict=True)
        )
        read = padded[(slice(None), *cells)].reshape(conv.group, -1, *lengths)
        out += np.einsum("goi,gi...->go...", weight[(..., *tap)], read)
    out = out.reshape(channels, *lengths)
    return out + conv.bias.reshape(-1, *(1,) * rank) if bias else out


def _offset(conv: Conv, image: Floats) -> tuple[Conv, AffineOperator | None]:
    """The convolution with `image` as its offset: a bias, or a shift per position after it."""
    shape = conv.output_shape()
    bias = _per_channel(image, shape)
    if bias is not None:
        return replace(conv, bias=bias), None
    return replace(conv, bias=np.zeros_like(conv.bias)), Shift(image, shape)


@pair(Shift, Conv)
def shift_conv(first: Shift, second: Conv) -> Merged:
    """W (x + o) + b = W x + (W o + b); at padded borders the offset depends on the position."""
    shifted = np.ascontiguousarray(np.broadcast_to(first.offset, first.shape))
    conv, after = _offset(second, _image(second, shifted))
    if after is None:
        return (conv,)
    # A shift per position is moved up only where that stores and adds no more than now.
    return (conv, after) if after.parameters <= first.parameters else None


@pair(Pad, Conv)
def pad_conv(first: Pad, second: Conv) -> Merged:
    """Zero cells around the image are the convolution's own padding."""
    if first.begin[0] or first.end[0]:
        return None
    around = (*first.begin[1:], *first.end[1:])
    pads = tuple(p + q for p, q in zip(second.pads, around, strict=True))
    return (replace(second, pads=pads, in_shape=first.shape),)


@pair(Conv, Conv)
def conv_conv(first: Conv, second: Conv) -> Merged:
    """Two convolutions as one, where borders allow it and it is no more work.

    y[p] = sum_k2 W2[k2] sum_k1 W1[k1] x[s1 (s2 p + d2 k2 - p2) + d1 k1 - p1]: stride s1 s2,
    padding p1 + s1 p2, taps at s1 d2 k2 + d1 k1. The second's padding is zero where the first,
    carried on over the border, need not be: both agree where its windows there meet no input.
    The first's bias is counted only inside the border: a bias, or an offset per position.
    """
    geometry = _composed(first, second)
    if geometry is None:
        return None
    pads, dilations, kernel = geometry
    rank = len(pads) // 2
    group = gcd(first.group, second.group)
    outputs, inputs = second.weight.shape[0], first.weight.shape[1] * first.group
    size = outputs * inputs // group * prod(kernel)
    positions = prod(second.output_shape()[1:])
    if size * positions > first.multiply_adds + second.multiply_adds:
        return None
    low, high = (_grouped(conv, group) for conv in (first, second))
    weight = np.zeros((group, high.shape[1], low.shape[2], *kernel))
    for outer in np.ndindex(*second.weight.shape[2:]):
        for inner in np.ndindex(*first.weight.shape[2:]):
            at = tuple(
                (first.strides[i] * second.dilations[i] * outer[i] + first.dilations[i] * inner[i])
                // dilations[i]
                for i in range(rank)
            )
            weight[(..., *at)] += high[(..., *outer)] @ low[(..., *inner)]
    one = Conv(
        weight.reshape(-1, *weight.shape[2:]), second.bias, first.in_shape,
        tuple(a * b for a, b in zip(first.strides, second.strides, strict=True)),
        pads, dilations, group,
    )  # fmt: skip
    shape = second.output_shape()
    if one.output_shape() != shape or _cancels(
        _terms(first, second), _rows(one.weight, second.bias)
    ):
        return None
    constant = np.broadcast_to(first.bias.reshape(-1, *(1,) * rank), first.output_shape())
    conv, after = _offset(one, _image(second, np.ascontiguousarray(constant)))
    made = (conv,) if after is None else (conv, after)
    new = sum((cost(op, shape) for op in made), NOTHING)
    old = cost(first, first.output_shape()) + cost(second, shape)
    return made if new.no_worse(old) else None


def _terms(first: Conv, second: Conv) -> Floats:
    """Sums of absolute values (outputs,) that the weights of two convolutions as one consist of.

    With the second's bias: beside a large one weights may cancel.
    """
    outputs, inputs = second.weight.shape[:2]
    below = _rows(first.weight).reshape(second.group, inputs)
    own = np.abs(second.weight).reshape(second.group, outputs // second.group, inputs, -1).sum(-1)
    total: Floats = np.einsum("goi,gi->go", own, below).reshape(-1) + np.abs(second.bias)
    return total


def _composed(
    first: Conv, second: Conv
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """(pads, dilations, kernel) of the composition; None where the border is not exact."""
    rank = len(first.strides)
    begins, ends, dilations, kernel = [], [], [], []
    for i in range(rank):
        s1, d1, k1 = first.strides[i], first.dilations[i], first.weight.shape[2 + i]
        s2, d2, k2 = second.strides[i], second.dilations[i], second.weight.shape[2 + i]
        n, middle, top = first.in_shape[1 + i], second.in_shape[1 + i], second.output_shape()[1 + i]
        p1, p2 = first.pads[i], second.pads[i]
        taps = {s2 * q + d2 * k - p2 for q in range(top) for k in range(k2)}
        beyond = [tap for tap in taps if not 0 <= tap < middle]
        if any(s1 * tap + d1 * (k1 - 1) - p1 >= 0 and s1 * tap - p1 < n for tap in beyond):
            return None
        step = gcd(s1 * d2 if k2 > 1 else 0, d1 if k1 > 1 else 0) or 1
        span = s1 * d2 * (k2 - 1) + d1 * (k1 - 1)
        begin = p1 + s1 * p2
        end = max(0, s1 * s2 * (top - 1) + span + 1 - n - begin)
        begins.append(begin)
        ends.append(end)
        dilations.append(step)
        kernel.append(span // step + 1)
    return (*begins, *ends), tuple(dilations), tuple(kernel)


def _grouped(conv: Conv, group: int) -> Floats:
    """Weight (group, outputs, inputs, *kernel) of a convolution written with fewer groups."""
    inner = conv.group // group
    outputs, inputs, *kernel = conv.weight.shape
    outputs //= conv.group
    wide = np.zeros((group, inner * outputs, inner * inputs, *kernel))
    weight = conv.weight.reshape(group, inner, outputs, inputs, *kernel)
    for i in range(inner):
        rows, columns = (slice(i * n, (i + 1) * n) for n in (outputs, inputs))
        wide[:, rows, columns] = weight[:, i]
    return wide


@pair(Scale, Scale)
def scale_scale(first: Scale, second: Scale) -> Merged:
    return (replace(second, scale=first.scale * second.scale),)


@pair(Shift, Shift)
def shift_shift(first: Shift, second: Shift) -> Merged:
    return (replace(second, offset=first.offset + second.offset),)


@pair(Shift, Scale)
def shift_scale(first: Shift, second: Scale) -> Merged:
    """s (x + o) = s x + s o: scales first, so that they meet what is above."""
    return (second, Shift(second.scale * first.offset, second.shape))


@pair(Reshape, Reshape)
def reshape_reshape(first: Reshape, second: Reshape) -> Merged:
    return () if first.before == second.after else (Reshape(first.before, second.after),)


@pair(Transpose, Transpose)
def transpose_transpose(first: Transpose, second: Transpose) -> Merged:
    perm = tuple(first.perm[p] for p in second.perm)
    return () if perm == tuple(range(len(perm))) else (Transpose(perm, first.shape),)


def _below_reshape(array: Floats, shape: tuple[int, ...], after: tuple[int, ...]) -> Floats:
    if array.size == 1:
        return array.reshape((1,) * len(after))
    return np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(after)


@pair(Scale, Reshape)
def scale_reshape(first: Scale, second: Reshape) -> Merged:
    """Element-wise factors move below data movement, towards the operator that absorbs them."""
    return (second, Scale(_below_reshape(first.scale, first.shape, second.after), second.after))


@pair(Shift, Reshape)
def shift_reshape(first: Shift, second: Reshape) -> Merged:
    return (second, Shift(_below_reshape(first.offset, first.shape, second.after), second.after))


# Two maps of the same value, added: one map where that is no more work. None is the value itself.
PARALLEL: dict[tuple[type, type], Callable[..., AffineOperator | None]] = {}


def parallel(first: AffineOperator | None, second: AffineOperator | None) -> AffineOperator | None:
    """The operator that computes ``first(x) + second(x)``, or None where both stay."""
    for one, other in ((first, second), (second, first)):
        rule = PARALLEL.get((type(one), type(other)))
        if rule is not None and (made := rule(one, other)) is not None:
            return made
    return None


def _beside(
    first: type, second: type
) -> Callable[[Callable[..., AffineOperator | None]], Callable[..., AffineOperator | None]]:
    def wrap(rule: Callable[..., AffineOperator | None]) -> Callable[..., AffineOperator | None]:
        PARALLEL[first, second] = rule
        return rule

    return wrap


@_beside(Dense, Dense)
def dense_beside_dense(first: Dense, second: Dense) -> AffineOperator:
    return Dense(first.weight + second.weight, first.bias + second.bias)


@_beside(Dense, type(None))
def dense_beside_itself(first: Dense, second: None) -> AffineOperator | None:
    """(W + I) x + b, where W is square."""
    rows, columns = first.weight.shape
    return replace(first, weight=first.weight + np.eye(rows)) if rows == columns else None


@_beside(Scale, Scale)
def scale_beside_scale(first: Scale, second: Scale) -> AffineOperator:
    return replace(first, scale=first.scale + second.scale)


@_beside(Scale, type(None))
def scale_beside_itself(first: Scale, second: None) -> AffineOperator:
    return replace(first, scale=first.scale + 1.0)


@_beside(Conv, Conv)
def conv_beside_conv(first: Conv, second: Conv) -> AffineOperator | None:
    """The smaller kernel laid into the larger one, where strides, groups and taps line up."""
    same = (first.strides, first.group, first.in_shape, first.output_shape())
    if same != (second.strides, second.group, second.in_shape, second.output_shape()):
        return None
    return _laid_into(first, second.weight, second.bias, second)


@_beside(Conv, type(None))
def conv_beside_itself(first: Conv, second: None) -> AffineOperator | None:
    """A skip around a convolution is a tap of weight one where the window meets its own cell."""
    channels, rank = first.weight.shape[0], len(first.strides)
    if first.output_shape() != first.in_shape or any(s != 1 for s in first.strides):
        return None
    weight = np.zeros((channels, first.weight.shape[1], *(1,) * rank))
    per_group = channels // first.group
    weight[np.arange(channels), np.arange(channels) % per_group] = 1.0
    none, one = (0,) * (2 * rank), (1,) * rank
    unit = Conv(weight, np.zeros(channels), first.in_shape, first.strides, none, one, first.group)
    return _laid_into(first, weight, unit.bias, unit)


def _laid_into(into: Conv, weight: Floats, bias: Floats, small: Conv) -> Conv | None:
    rank = len(into.strides)
    total = into.weight.copy()
    for tap in np.ndindex(*weight.shape[2:]):
        place = []
        for i in range(rank):
            cell = small.dilations[i] * tap[i] - small.pads[i] + into.pads[i]
            index, rest = divmod(cell, into.dilations[i])
            if rest or not 0 <= index < into.weight.shape[2 + i]:
                return None
            place.append(index)
        total[(..., *place)] += weight[(..., *tap)]
    return replace(into, weight=total, bias=into.bias + bias)


def absorb_movement(moves: Sequence[Reshape | Transpose], dense: Dense) -> Dense:
    """A matrix that reads its input before the data movements below it, lowest first."""
    lowest = moves[0]
    shape = lowest.before if isinstance(lowest, Reshape) else lowest.shape
    places = np.arange(prod(shape)).reshape(shape)
    for move in moves:
        if isinstance(move, Transpose):
            places = places.transpose(move.perm)
        else:
            places = places.reshape(move.after)
    weight = np.empty_like(dense.weight)
    weight[:, places.reshape(-1)] = dense.weight
    return replace(dense, weight=weight)


def is_identity(op: AffineOperator) -> bool:
    """Operators that return their only input unchanged."""
    if isinstance(op, Reshape):
        return op.before == op.after
    if isinstance(op, Scale):
        return bool(np.all(op.scale == 1.0))
    if isinstance(op, Shift):
        return not np.any(op.offset) and prod(op.shape) > 0
    if isinstance(op, Pad):
        return not any(op.begin) and not any(op.end)
    return False
