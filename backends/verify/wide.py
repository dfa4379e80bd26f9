"""Input splitting for networks of few inputs and many neurons: generators, fields of a few terms.

A box takes seconds here, so that each is bounded as well as it can be: affine forms beside
intervals, where these are not enough a backward pass for every neuron whose sign they do not tell,
and on boxes that leave few enough neurons unstable, lines optimised for each of them on the
condensed network, which all parts of such a box share. A half takes over what was known of the
whole, and only neurons that were unstable there are looked at again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.relaxation.layerwise import Ends, LayerwiseBounds
from graphprune.backends.verify.query import RegionResult, VerificationQuery
from graphprune.backends.verify.region_halving import BoxLimits, OpenBox, RegionHalving
from graphprune.backends.verify.root import excluded_by, row_bounds
from graphprune.bounds import Forms, LayerBounds, pre_activation_bounds
from graphprune.progress import Progress, quiet
from graphprune.region import Box
from graphprune.runtime.resources import current
from graphprune.transforms.matrix import matrix_of

Floats = NDArray[np.float64]

# Boxes of a batch, at most: they are cheap only where next to nothing is unstable.
LARGEST_BATCH = 32
# Open boxes kept at most; the search gives up (unknown) beyond.
MOST_OPEN = 100_000
# Share of the memory for the bounds that open boxes hold, and as much for condensed networks.
HELD = 0.25
# Centres that descents start from, every time the number of boxes has doubled.
STARTS = 8
# Numbers of a condensed network's rows, zeros included, up to which its neurons' lines are
# optimised: with more of them a half is bounded sooner.
MOST_NUMBERS = 10_000_000
# Bytes of each of these numbers, in both precisions.
BYTES = 12
# Steps of Adam for each neuron, and for each row on top.
NEURON_STEPS, ROW_STEPS = 4, 20
# A box is bounded once more where its rows lack at most this part of what they have just gained.
AGAIN = 0.35


@dataclass(frozen=True, eq=False)
class _Condensed:
    """The condensed network of a box around this one, and bounds of its neurons here."""

    shared: LayerwiseBounds
    ends: Sequence[Ends]


@dataclass(frozen=True, eq=False)
class _Inherited:
    """Bounds that a box has from itself and from those around it.

    Attributes
    ----------
    undecided
        (polytopes,) those that no bound has excluded.
    outer
        Bounds of all layers on a box around it; None where memory was short.
    condensed
        None: too many neurons are unstable on the boxes around it.
    own
        The bounds are of the box itself.
    """

    undecided: NDArray[np.bool_]
    outer: Sequence[LayerBounds] | None
    condensed: _Condensed | None = None
    own: bool = False


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
    return _WideSearch(query, layers, progress).run()


class _WideSearch:
    """Bounds of boxes, the largest ones by passes over the network, smaller ones condensed."""

    def __init__(
        self, query: VerificationQuery, layers: Sequence[LayerBounds], progress: Progress
    ) -> None:
        self.query, self.layers, self.progress = query, layers, progress
        memory = HELD * current().memory
        network = query.network
        self.most_held = memory / max(12 * (network.neurons + network.auxiliary_neurons), 1)
        self.room = int(memory) // BYTES
        self._condensed: WeakSet[LayerwiseBounds] = WeakSet()
        # Magnitudes of the first layer's weights.
        self._moves = abs(matrix_of(network, 0).weights[0])

    def run(self) -> RegionResult:
        """Halve boxes until the region is decided or the time is over."""
        every = np.ones(self.query.polytopes, np.bool_)
        few = self.most_held > 0 and self._few(self.layers)
        known = _Inherited(every, self.layers if self.most_held > 0 else None, own=few)
        limits = BoxLimits(LARGEST_BATCH, MOST_OPEN, STARTS, first=4)
        return RegionHalving(
            self.query, known, self.bound, limits, self.progress, bounded=not few,
            slopes=self.slopes,
        ).run()  # fmt: skip

    def bound(self, picked: Sequence[_Box], others: int) -> list[_Box]:
        """The boxes that are left of a batch, with their bounds."""
        whole = [box for box in picked if box.known.condensed is None]
        done = [box for box in picked if box.known.condensed is not None]
        fresh = [box for box in whole if not box.known.own]
        if fresh:
            fresh = _bounded(self.query, fresh, "alone")
        if fresh:
            fresh = _bounded(self.query, fresh, "beside")
        left = [box for box in whole if box.known.own] + fresh
        found = []
        for box in [*done, *map(self._condense, left)]:
            again = box if box.known.condensed is None else self._optimised(box)
            if again is not None:
                held = others < self.most_held
                found.append(_for_halves(again, forget=not held))
        return found

    def slopes(self, box: _Box) -> Floats:
        """Weights of the inputs: those of the first layer's neurons that are unstable on a box.

        A box's bounds lack what its neurons are off, not what the output moves by.
        """
        unstable = np.ones(self._moves.shape[0], np.bool_)
        if box.known.condensed is not None:
            low, high = box.known.condensed.ends[0]
            neurons = box.known.condensed.shared.layers[0].neurons
            unstable[:] = False
            unstable[neurons[(low < 0.0) & (high > 0.0)]] = True
        elif box.known.outer is not None:
            unstable = box.known.outer[0].unstable[0]
        moved: Floats = np.asarray(self._moves[unstable].sum(axis=0), np.float64)
        return moved

    def _few(self, layers: Sequence[LayerBounds]) -> bool:
        """Decide if a condensed network is worth its while."""
        counts = np.array([int(layer.unstable[0].sum()) for layer in layers])
        below = len(self.query.lower) + np.cumsum(counts) - counts
        numbers = int(counts @ below)
        held = sum(shared.size for shared in self._condensed)
        return numbers <= MOST_NUMBERS and numbers + held <= self.room

    def _condense(self, box: _Box) -> _Box:
        """A box with its own condensed network, where few neurons are unstable."""
        layers = box.known.outer
        if layers is None or not self._few(layers):
            return box
        query = self.query
        shape = query.network.input_shape
        lower, upper = box.lower.astype(np.float64), box.upper.astype(np.float64)
        region = Box(lower.reshape(shape), upper.reshape(shape))
        condensed = condense(query.network, bounds_of(layers), region, query.deadline)
        shared = LayerwiseBounds(condensed, query.weights, query.limits)
        self._condensed.add(shared)
        return replace(
            box, known=replace(box.known, condensed=_Condensed(shared, shared.known), outer=None)
        )

    def _optimised(self, box: _Box) -> _Box | None:
        """A box with the bounds that optimised lines give; None where they exclude all of it."""
        known = box.known.condensed
        assert known is not None
        lower, upper = box.lower.astype(np.float64), box.upper.astype(np.float64)
        ends, before = known.ends, np.full(len(self.query.limits), -np.inf)
        while True:
            rows = known.shared.rows(lower, upper, ends, ROW_STEPS)
            beyond = excluded_by(self.query, (rows + self.query.limits)[None])[0]
            undecided = box.known.undecided & ~beyond
            if not undecided.any():
                return None
            # Once more where that takes less than two halves.
            if not np.all(-rows <= AGAIN * (rows - before)):
                break
            ends, before = known.shared.neurons(lower, upper, ends, NEURON_STEPS), rows
        inherited = _Inherited(undecided, None, _Condensed(known.shared, ends))
        return replace(box, known=inherited)


def _for_halves(box: _Box, *, forget: bool) -> _Box:
    """A box with what its halves take over; with `forget` they begin without its bounds."""
    known = replace(box.known, own=False)
    if forget:
        known = replace(known, outer=None, condensed=None)
    return replace(box, known=known)


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
