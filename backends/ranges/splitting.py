"""The choice of the range to be split, and of the place to split it at.

A neuron counts by what its relaxation loses at the minimiser, times the row's coefficient there,
and by a share of how much it bends: BaBSR's and GenBaB's scores (Bunel et al. 2020; Shi et al.
2024). What products lose counts for the factors they read, whose ranges their planes come from.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.ranges.relaxation import CaseBounds, RangeCase, RangeRelaxation
from graphprune.functions import ScalarFunction
from graphprune.ir.network import Activation, is_paired
from graphprune.transforms.matrix import matrix_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Singles = NDArray[np.float32]

# The share of what the chord of the whole range is off in its middle.
BENDING = 0.1
# Ranges narrower than this, relatively, are not split.
NARROW = 1e-5
# Shares of a range that are tried as places to split it, beside its minimiser and its bends.
SHARES = (0.25, 0.5, 0.75)
# No place is nearer to an end than this share of the range.
NEAREST = 0.05
# Where the distance from a chord is measured.
SAMPLES = (0.2, 0.5, 0.8)


def choose_splits(
    relaxation: RangeRelaxation, batch: Sequence[RangeCase], found: CaseBounds
) -> tuple[Ints, Singles]:
    """Per case the neuron to be split, -1 where none is left, and the place in its range."""
    scores = _scores(relaxation, batch, found)
    chosen = np.argmax(scores, axis=1)
    cases = np.arange(len(batch))
    neurons = np.where(scores[cases, chosen] > 0.0, chosen, -1)
    places = np.zeros(len(batch), np.float32)
    for index in range(len(relaxation.network.activations)):
        place = relaxation.place(index)
        here = np.flatnonzero((neurons >= place.start) & (neurons < place.stop))
        if not len(here):
            continue
        at = neurons[here]
        lower, upper = (
            np.array(
                [
                    getattr(batch[r], name)[j]
                    for r, j in zip(here.tolist(), at.tolist(), strict=True)
                ],
                np.float64,
            )
            for name in ("lower", "upper")
        )
        minimiser = found.before[here, at]
        places[here] = _place(relaxation.activation(index), lower, upper, minimiser)
    return neurons, places


def _scores(relaxation: RangeRelaxation, batch: Sequence[RangeCase], found: CaseBounds) -> Floats:
    """(n, total) of every neuron; 0 where splitting is of no use."""
    scores = np.zeros(found.output.shape)
    ends = [
        np.stack([getattr(case, name) for case in batch]).astype(np.float64)
        for name in ("lower", "upper")
    ]
    for index in range(len(relaxation.network.activations)):
        place, activation = relaxation.place(index), relaxation.activation(index)
        lower, upper = (end[:, place] for end in ends)
        size = np.abs(found.output[:, place])
        before, line = found.before[:, place], found.line[:, place]
        if is_paired(activation):
            pairs = [part.reshape(len(batch), -1, 2) for part in (before, line, size, lower, upper)]
            z, h, used, low, high = pairs
            inside = np.clip(z, low, high)
            lost = np.abs(h.sum(axis=2) - inside.prod(axis=2)) + BENDING * (high - low).prod(axis=2)
            lost = np.repeat(lost * used.mean(axis=2), 2, axis=1)
            for source, matrix in _read(relaxation, index):
                scores[:, relaxation.place(source)] += lost @ matrix
            continue
        with np.errstate(all="ignore"):
            z = np.clip(before, lower, upper)
            value, low, high = (activation.value(part) for part in (z, lower, upper))
            middle = activation.value(0.5 * lower + 0.5 * upper)
            lost = np.abs(line - value) + BENDING * np.abs(middle - 0.5 * low - 0.5 * high)
        if activation.piecewise_linear:
            lost = np.where((lower < 0.0) & (upper > 0.0), lost, 0.0)
        scores[:, place] += np.nan_to_num(size * lost, nan=0.0, posinf=0.0)
    least = NARROW * np.maximum(np.abs(ends[0]), np.abs(ends[1]))
    return np.where(ends[1] - ends[0] > least + 1e-30, scores, 0.0)


def _read(relaxation: RangeRelaxation, index: int) -> list[tuple[int, Any]]:
    """The activation layers that a layer of products reads; which pre-activation which neuron."""
    network, order = relaxation.network, relaxation.compact.order
    outputs = [a.outputs[0] for a in network.activations]

    def make() -> list[tuple[int, Any]]:
        found = []
        weights = matrix_of(network, index).weights
        for source, weight in zip(network.segments[index].sources, weights, strict=True):
            if source is network.input:
                continue
            below = outputs.index(source)
            marked = sparse.csr_array(abs(weight) > 0).astype(np.float64)
            found.append((below, marked[order[index + 1]][:, order[below + 1]]))
        return found

    return network.cached(("factors", index), make)


def _place(activation: Activation, lower: Floats, upper: Floats, minimiser: Floats) -> Singles:
    """Where ranges (n,) of one activation's neurons are split: lines of both parts are closest."""
    width = upper - lower
    if activation.piecewise_linear:
        return np.zeros(len(lower), np.float32)
    places = [lower + share * width for share in SHARES]
    if isinstance(activation, ScalarFunction):
        places.append(minimiser)
        places += [
            np.broadcast_to(left, lower.shape) for left, _, _ in activation.pieces(lower, upper)
        ]
    inside = np.clip(np.nan_to_num(places), lower + NEAREST * width, upper - NEAREST * width)
    tried: Singles = inside.astype(np.float32)
    if not isinstance(activation, ScalarFunction):
        in_the_middle: Singles = tried[1]
        return in_the_middle
    middle = tried.astype(np.float64)
    gaps = _gap(activation, np.broadcast_to(lower, middle.shape), middle)
    gaps = gaps + _gap(activation, middle, np.broadcast_to(upper, middle.shape))
    best = np.argmin(np.nan_to_num(gaps, nan=np.inf), axis=0)
    chosen: Singles = tried[best, np.arange(len(lower))]
    return chosen


def _gap(activation: Activation, lower: Floats, upper: Floats) -> Floats:
    """About the area between the lines of ranges: that between the function and its chord."""
    with np.errstate(all="ignore"):
        first, last = activation.value(lower), activation.value(upper)
        off = [
            np.abs(activation.value(lower + s * (upper - lower)) - (first + s * (last - first)))
            for s in SAMPLES
        ]
        area: Floats = np.sum(off, axis=0) * (upper - lower)
        return area
