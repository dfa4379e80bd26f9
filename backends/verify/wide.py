"""Input splitting for networks of few inputs and many neurons: generators, fields of a few terms.

A box takes seconds here, so that each is bounded as well as it can be: affine forms beside
intervals, and where these are not enough a backward pass for every neuron whose sign they do not
tell. A half takes over what was known of the whole, and only neurons that were unstable there are
looked at again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify.query import RegionResult, VerificationQuery
from graphprune.backends.verify.region_halving import BoxLimits, OpenBox, RegionHalving
from graphprune.backends.verify.root import excluded_by, row_bounds
from graphprune.bounds import Forms, LayerBounds, pre_activation_bounds
from graphprune.progress import Progress, quiet
from graphprune.runtime.resources import current

# Boxes of a batch, at most: they are cheap only where next to nothing is unstable.
LARGEST_BATCH = 32
# Open boxes kept at most; the search gives up (unknown) beyond.
MOST_OPEN = 100_000
# Share of the memory for the bounds that open boxes hold.
HELD = 0.25
# Centres that descents start from, every time the number of boxes has doubled.
STARTS = 8


@dataclass(frozen=True, eq=False)
class _Inherited:
    """Bounds that a box has from itself and from those around it.

    Attributes
    ----------
    undecided
        (polytopes,) those that no bound has excluded.
    outer
        Bounds of all layers on a box around it; None where memory was short.
    """

    undecided: NDArray[np.bool_]
    outer: Sequence[LayerBounds] | None


_Box = OpenBox[_Inherited]


def split_wide(
    query: VerificationQuery, layers: Sequence[LayerBounds], progress: Progress = quiet
) -> RegionResult:
    """Decide a region by halving its box, the part with the least violating centre first.

    Neither `unsat` nor a point: the deadline has passed, or boxes too small to split are left.

    Parameters
    ----------
    layers
        Bounds of all pre-activations on the region's box, which did not exclude its polytopes.
    """
    network = query.network
    each = 12 * (network.neurons + network.auxiliary_neurons)
    most_held = HELD * current().memory / max(each, 1)

    def bound(picked: Sequence[_Box], others: int) -> list[_Box]:
        left = _bounded(query, picked, "alone")
        left = _bounded(query, left, "beside") if left else left
        return left if others < most_held else [_forgetful(box) for box in left]

    every = _Inherited(np.ones(query.polytopes, np.bool_), layers if most_held > 0 else None)
    limits = BoxLimits(LARGEST_BATCH, MOST_OPEN, STARTS, first=4)
    return RegionHalving(query, every, bound, limits, progress, bounded=True).run()


def _forgetful(box: _Box) -> _Box:
    """Return a box whose halves begin without its bounds."""
    return replace(box, known=replace(box.known, outer=None))


def _bounded(query: VerificationQuery, picked: Sequence[_Box], forms: Forms) -> list[_Box]:
    """The boxes that are left, each with its own bounds."""
    boxes = OpenBox.boxes(picked)
    known = [box.known.outer for box in picked if box.known.outer is not None]
    outer = None
    if len(known) == len(picked):
        outer = [LayerBounds.stack(parts) for parts in zip(*known, strict=True)]
    layers = pre_activation_bounds(
        query.network, boxes, outer=outer, until=query.deadline, forms=forms
    )
    found = excluded_by(query, row_bounds(query.network, boxes, query.weights, layers))
    left = []
    for b, box in enumerate(picked):
        undecided = box.known.undecided & ~found[b]
        if undecided.any():
            own = [layer.take(slice(b, b + 1)) for layer in layers]
            left.append(replace(box, known=_Inherited(undecided, own)))
    return left
