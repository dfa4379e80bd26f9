"""Input splitting for networks of few inputs and many neurons: generators, fields of a few terms.

A box takes seconds here, so that each is bounded as well as it can be: affine forms beside
intervals, and where these are not enough a backward pass for every neuron whose sign they do not
tell. A half takes over what was known of the whole, and only neurons that were unstable there are
looked at again.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.boxes.halving import BatchSize, centres, halves, inputs_to_halve
from graphprune.backends.verify.attack import attack_from
from graphprune.backends.verify.query import Counterexample, RegionResult, VerificationQuery
from graphprune.backends.verify.root import excluded_by, row_bounds
from graphprune.backends.verify.smooth import violations_at
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import Boxes, Forms, LayerBounds, pre_activation_bounds
from graphprune.errors import OutOfTimeError
from graphprune.progress import Progress, quiet
from graphprune.runtime.resources import current

Singles = NDArray[np.float32]

# Boxes of a batch, at most: they are cheap only where next to nothing is unstable.
LARGEST_BATCH = 32
# Open boxes kept at most; the search gives up (unknown) beyond.
MOST_OPEN = 100_000
# Share of the memory for the bounds that open boxes hold.
HELD = 0.25
# Centres that descents start from, every time the number of boxes has doubled.
STARTS = 8


@dataclass(frozen=True, eq=False)
class _WideBox:
    """An open box.

    Attributes
    ----------
    undecided
        (polytopes,) those that no bound has excluded.
    outer
        Bounds of all layers on a box around it; None where memory was short.
    """

    lower: Singles
    upper: Singles
    undecided: NDArray[np.bool_]
    outer: Sequence[LayerBounds] | None


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
    return _WideSearch(query, progress).run(layers)


class _WideSearch:
    """The open boxes of a region, and the layers' bounds that they start from."""

    def __init__(self, query: VerificationQuery, progress: Progress) -> None:
        self.query = query
        self.progress = progress
        whole = boxes_of(query)
        self.lower, self.upper = whole.lower[0], whole.upper[0]
        self.width = np.maximum(self.upper.astype(np.float64) - self.lower, 1e-300)
        self.queue: list[tuple[float, int, _WideBox]] = []
        self.nodes, self.made, self.next_attack = 1, 0, 4
        self.complete = True
        network = query.network
        each = 12 * (network.neurons + network.auxiliary_neurons)
        self.most_held = HELD * current().memory / max(each, 1)

    def run(self, layers: Sequence[LayerBounds]) -> RegionResult:
        every = np.ones(self.query.polytopes, np.bool_)
        point = self._split([_WideBox(self.lower, self.upper, every, layers)])
        batch = BatchSize(LARGEST_BATCH)
        while self.queue and point is None and self.query.in_time:
            count = min(batch.size, len(self.queue))
            picked = [heapq.heappop(self.queue)[2] for _ in range(count)]
            start = monotonic()
            try:
                left = self._bounded(picked, "alone")
                left = self._bounded(left, "beside") if left else left
            except OutOfTimeError:
                return RegionResult(False, None, self.nodes)
            self.nodes += count
            point = self._split(left) if left else None
            batch.took(monotonic() - start)
            self.progress(f"input splitting: {self.nodes} boxes bounded, {len(self.queue)} open")
        unsat = point is None and self.complete and not self.queue
        ended = point is None and not unsat and self.query.in_time
        reason = "boxes too small to split stay undecided" if ended else ""
        return RegionResult(unsat, point, self.nodes, reason)

    def _bounded(self, picked: Sequence[_WideBox], forms: Forms) -> list[_WideBox]:
        """The boxes that are left, each with its own bounds."""
        query = self.query
        boxes = Boxes(np.array([box.lower for box in picked]), np.array([b.upper for b in picked]))
        known = [box.outer for box in picked if box.outer is not None]
        outer = None
        if len(known) == len(picked):
            outer = [LayerBounds.stack(parts) for parts in zip(*known, strict=True)]
        layers = pre_activation_bounds(
            query.network, boxes, outer=outer, until=query.deadline, forms=forms
        )
        found = excluded_by(query, row_bounds(query.network, boxes, query.weights, layers))
        left = []
        for b, box in enumerate(picked):
            undecided = box.undecided & ~found[b]
            if undecided.any():
                own = [layer.take(slice(b, b + 1)) for layer in layers]
                left.append(_WideBox(box.lower, box.upper, undecided, own))
        return left

    def _split(self, boxes: Sequence[_WideBox]) -> Counterexample | None:
        """Halve boxes, or return a counterexample among their centres and what descends there."""
        query = self.query
        lower, upper = np.array([b.lower for b in boxes]), np.array([b.upper for b in boxes])
        centre = centres(lower, upper)
        nearest, slope = violations_at(query, centre)
        if np.any(nearest <= 0.0):
            point = query.confirm(centre[np.argsort(nearest)[:STARTS]])
            if point is not None:
                return point
        if self.nodes >= self.next_attack:
            self.next_attack = 2 * self.nodes
            point = attack_from(query, centre[np.argsort(nearest)[:STARTS]])
            if point is not None:
                return point
        for b, i in enumerate(inputs_to_halve(lower, upper, slope, self.width)):
            if i < 0 or len(self.queue) >= MOST_OPEN:
                self.complete = False
                continue
            outer = boxes[b].outer if len(self.queue) < self.most_held else None
            for low, high in halves(lower[b], upper[b], int(i)):
                part = _WideBox(low, high, boxes[b].undecided, outer)
                heapq.heappush(self.queue, (float(nearest[b]), self.made, part))
                self.made += 1
        return None
