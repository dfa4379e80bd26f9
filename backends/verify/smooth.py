"""Input splitting for networks with smooth activations: CROWN bounds of many small boxes a batch.

The compiled kernels of :mod:`graphprune.backends.verify.inputs` know ReLU only; here the general
bounds do the work, whose relaxations of smooth functions become exact as boxes shrink.
"""

import heapq
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.boxes.halving import BatchSize, centres, halves, inputs_to_halve
from graphprune.backends.verify.attack import attack_from
from graphprune.backends.verify.query import Counterexample, RegionResult, VerificationQuery
from graphprune.backends.verify.root import excluded
from graphprune.backends.verify.specifications import boxes_of
from graphprune.bounds import Boxes
from graphprune.progress import Progress, quiet
from graphprune.runtime.gradient import scores_and_gradients

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# Boxes of a batch, at most.
LARGEST_BATCH = 512
# Open boxes kept at most; the search gives up (unknown) beyond.
MOST_OPEN = 500_000
# Centres that descents start from, every time the number of boxes has doubled.
STARTS = 32

_Open = tuple[float, int, Singles, Singles]


def split_boxes(query: VerificationQuery, progress: Progress = quiet) -> RegionResult:
    """Decide a region by halving its box, the part with the least violating centre first.

    Neither `unsat` nor a point: the deadline has passed, or boxes too small to split are left.
    """
    return _BoxSearch(query, progress).run()


class _BoxSearch:
    """The open boxes of a region."""

    def __init__(self, query: VerificationQuery, progress: Progress) -> None:
        self.query = query
        self.progress = progress
        whole = boxes_of(query)
        self.width = np.maximum(whole.upper[0].astype(np.float64) - whole.lower[0], 1e-300)
        self.queue: list[_Open] = [(-np.inf, 0, whole.lower[0], whole.upper[0])]
        self.nodes = 0
        self.made = 1
        self.complete = True
        self.next_attack = 2 * STARTS

    def run(self) -> RegionResult:
        batch = BatchSize(LARGEST_BATCH)
        while self.queue and self.query.in_time:
            picked = [heapq.heappop(self.queue) for _ in range(min(batch.size, len(self.queue)))]
            start = monotonic()
            lower, upper = (np.array([p[part] for p in picked]) for part in (2, 3))
            left = ~np.all(excluded(self.query, Boxes(lower, upper)), axis=1)
            self.nodes += len(picked)
            point = self._split(lower[left], upper[left]) if left.any() else None
            if point is not None:
                return RegionResult(False, point, self.nodes)
            batch.took(monotonic() - start)
            self.progress(f"input splitting: {self.nodes} boxes bounded, {len(self.queue)} open")
        unsat = self.complete and not self.queue
        reason = (
            "" if unsat or not self.query.in_time else "boxes too small to split stay undecided"
        )
        return RegionResult(unsat, None, self.nodes, reason)

    def _split(self, lower: Singles, upper: Singles) -> Counterexample | None:
        """Halve boxes, or return a counterexample among their centres and what descends there."""
        query = self.query
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
            for low, high in halves(lower[b], upper[b], int(i)):
                heapq.heappush(self.queue, (float(nearest[b]), self.made, low, high))
                self.made += 1
        return None


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
