"""Which pairs of affine operators are one operator: the algebra of fusion, one rule per pair."""

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from graphprune.ir.network import AffineOperator
from graphprune.operators.conv import Conv
from graphprune.operators.dense import Dense
from graphprune.operators.reshape import Reshape
from graphprune.operators.scale import Scale
from graphprune.operators.shift import Shift
from graphprune.operators.transpose import Transpose

Floats = NDArray[np.float64]
# A merged pair: no operator (identity), one, or two in an order that lets others merge.
Merged = tuple[AffineOperator, ...] | None
PairRule = Callable[..., Merged]

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
    weight = second.weight @ first.weight
    return (Dense(weight, second.weight @ first.bias + second.bias),)


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
    offset = second.weight @ _flat(first.offset, first.shape)
    return (replace(second, bias=second.bias + offset),)


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


def is_identity(op: AffineOperator) -> bool:
    """Operators that return their only input unchanged."""
    if isinstance(op, Reshape):
        return op.before == op.after
    if isinstance(op, Scale):
        return bool(np.all(op.scale == 1.0))
    if isinstance(op, Shift):
        return not np.any(op.offset) and prod(op.shape) > 0
    return False
