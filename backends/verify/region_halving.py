"""Halving of a region's box into ever smaller ones, the part with the least violating centre first.

Bounds of the boxes are the caller's, and so is what a box's halves inherit from it.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.boxes.halving import BatchSize, centres, halves, inputs_to_halve
from graphprune.backends.verify.attack import attack_from
from graphprune.backends.verify.query import Counterexample, RegionResult, VerificationQuery
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import Boxes
from graphprune.errors import OutOfTimeError
from graphprune.progress import Progress
from graphprune.runtime.gradient import scores_and_gradients

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Known = TypeVar("Known")


@dataclass(frozen=True)
class BoxLimits:
    """Sizes of a search.

    Attributes
    ----------
    batch
        Boxes that are bounded together, at most.
    open
        Open boxes kept at most; the search gives up (unknown) beyond.
    starts
        Centres that descents start from, every time the number of boxes has doubled.
    first
        The number of boxes after which they start for the first time.
    """

    batch: int
    open: int
    starts: int
    first: int


@dataclass(frozen=True, eq=False)
class OpenBox(Generic[Known]):
    """A box that no bound has closed, and what its halves take over of it."""

    lower: Singles
    upper: Singles
    known: Known

    @staticmethod
    def boxes(batch: "Sequence[OpenBox[Known]]") -> Boxes:
        """All boxes of a batch."""
        return Boxes(np.array([box.lower for box in batch]), np.array([b.upper for b in batch]))


# Weights of a box's inputs (inputs,): the one that is halved has the largest, times its width.
Slopes = Callable[[OpenBox[Known]], Floats]
# The boxes that are left of a batch, with what is known of each, where so many others are open.
Bounder = Callable[[Sequence[OpenBox[Known]], int], list[OpenBox[Known]]]


class RegionHalving(Generic[Known]):
    """The open boxes of a region.

    Parameters
    ----------
    bounded
        The region's box has been bounded already.
    slopes
        The gradient of the worst violation at a box's centre, if None.
    """

    def __init__(
        self, query: VerificationQuery, known: Known, bound: Bounder[Known], limits: BoxLimits,
        progress: Progress, *, bounded: bool, slopes: Slopes[Known] | None = None,
    ) -> None:  # fmt: skip
        self.query = query
        self.bound = bound
        self.limits = limits
        self.progress = progress
        self.slopes = slopes
        whole = boxes_of(query)
        self.whole = OpenBox(whole.lower[0], whole.upper[0], known)
        self.width = np.maximum(self.whole.upper.astype(np.float64) - self.whole.lower, 1e-300)
        self.queue: list[tuple[float, int, OpenBox[Known]]] = []
        self.nodes, self.made, self.next_attack = int(bounded), 0, limits.first
        self.complete = True

    def run(self) -> RegionResult:
        """Halve boxes until none is open, a counterexample is found, or the time is over."""
        point = None
        if self.nodes:
            point = self._split([self.whole])
        else:
            self._push(-np.inf, self.whole)
        batch = BatchSize(self.limits.batch)
        while self.queue and point is None and self.query.in_time:
            count = min(batch.size, len(self.queue))
            picked = [heapq.heappop(self.queue)[2] for _ in range(count)]
            start = monotonic()
            try:
                left = self.bound(picked, len(self.queue))
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

    def _split(self, boxes: Sequence[OpenBox[Known]]) -> Counterexample | None:
        """Halve boxes, or return a counterexample among their centres and what descends there."""
        query, whole = self.query, OpenBox.boxes(boxes)
        lower, upper = whole.lower, whole.upper
        centre = centres(lower, upper)
        nearest, slope = violations_at(query, centre)
        if np.any(nearest <= 0.0):
            point = query.confirm(centre[np.argsort(nearest)[: self.limits.starts]])
            if point is not None:
                return point
        if self.nodes >= self.next_attack:
            self.next_attack = 2 * self.nodes
            point = attack_from(query, centre[np.argsort(nearest)[: self.limits.starts]])
            if point is not None:
                return point
        if self.slopes is not None:
            slope = np.stack([self.slopes(box) for box in boxes])
        for b, i in enumerate(inputs_to_halve(lower, upper, slope, self.width)):
            if i < 0 or len(self.queue) >= self.limits.open:
                self.complete = False
                continue
            for low, high in halves(lower[b], upper[b], int(i)):
                self._push(float(nearest[b]), OpenBox(low, high, boxes[b].known))
        return None

    def _push(self, urgency: float, box: OpenBox[Known]) -> None:
        heapq.heappush(self.queue, (urgency, self.made, box))
        self.made += 1


def violations_at(query: VerificationQuery, x: Floats) -> tuple[Floats, Floats]:
    """At points (N, inputs): the least over polytopes of the largest excess; its gradient."""
    network = query.network
    points = query.inside(x)
    y, _ = scores_and_gradients(network, points, np.zeros((len(x), network.classes)))
    excess = y.astype(np.float64) @ query.weights.T - query.limits
    excess = np.nan_to_num(excess, nan=np.inf, posinf=np.inf, neginf=-np.inf)
    largest, row = np.full(len(x), np.inf), np.zeros(len(x), np.intp)
    for p in range(query.polytopes):
        part = slice(query.first[p], query.first[p + 1])
        worst = query.first[p] + np.argmax(excess[:, part], axis=1)
        value = excess[np.arange(len(x)), worst]
        row = np.where(value < largest, worst, row)
        largest = np.minimum(largest, value)
    return largest, scores_and_gradients(network, points, query.weights[row])[1]
