"""The distance by halving boxes of the input, the nearest box to the anchor first.

CROWN bounds of all margins exclude a box where they are positive. What is left is adversarial
nowhere nearer than the nearest open box, which is a proven lower end at every moment; centres of
boxes that are adversarial, brought back along the ray to the anchor, are upper ends.
"""

import heapq
import logging
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.boxes.halving import (
    BatchSize,
    bounds_where_there_are_any,
    centres,
    halves,
    inputs_to_halve,
)
from graphprune.backends.protocol import DistanceInterval
from graphprune.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.errors import UnsupportedError
from graphprune.ir import Network, Query
from graphprune.runtime.gradient import scores_and_gradients
from graphprune.runtime.resources import Resources, using

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

log = logging.getLogger("graphprune")

# Inputs that may be halved, at most.
FEW = 8
# Variables that move inputs together, whose boxes are halved where the network is piecewise linear,
# at most: neurons of one variable change one after the other, which splitting them does not know.
FEWER = 5
# Boxes of a batch, at most.
LARGEST_BATCH = 1024
# Bytes of an open box beside those of its sides.
OVERHEAD = 400
# Lengths of so few elements are wrong by a smaller share.
ROUNDED = 4e-15
# Boxes whose centres are tried as points, of every batch.
TRIED = 2


def few_inputs(query: Query) -> bool:
    """True where so few inputs may change that halving them pays."""
    return _changing(query) <= FEW


def by_halving(query: Query) -> bool:
    """True where the search is one of boxes of the input."""
    if not query.network.piecewise_linear:
        return few_inputs(query)
    entry = query.network.source.entry
    return entry is not None and entry.front.mixes and _changing(query) <= FEWER


def _changing(query: Query) -> int:
    """Number of inputs that may change."""
    lower, upper = query.domain.box(query.network.input_shape)
    return int(np.count_nonzero(upper > lower))


@dataclass(frozen=True)
class BoxSearch:
    """Branch and bound on boxes of the input."""

    @property
    def name(self) -> str:
        return "search"

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Halve boxes until the interval is closed or a limit is reached.

        Raises
        ------
        UnsupportedError
            Too many inputs may change.
        """
        if not few_inputs(interval.problem.query):
            raise UnsupportedError(f"boxes of at most {FEW} inputs are halved")
        with using(resources):
            _Halving(interval, resources).run()


class _Halving:
    """The open boxes, by their distance from the anchor."""

    def __init__(self, interval: DistanceInterval, resources: Resources) -> None:
        self.interval = interval
        self.resources = resources
        self.query = interval.problem.query
        self.centre = self.query.anchor.center.reshape(-1)
        self.rows = margin_rows(self.network, self.query.anchor.label, self.query.target)
        whole = Boxes.of(self.query.ball(interval.cutoff))
        self.width = np.maximum(whole.upper[0].astype(np.float64) - whole.lower[0], 1e-300)
        self.queue: list[tuple[float, int, Singles, Singles]] = []
        self.made = 0
        # Distances below this are proven, whatever is still open: boxes that cannot be halved.
        self.stuck = np.inf
        self._push(whole.lower[0], whole.upper[0])

    @property
    def network(self) -> Network:
        return self.query.network

    def run(self) -> None:
        interval, batch = self.interval, BatchSize(LARGEST_BATCH)
        most = self.resources.memory // (8 * len(self.centre) + OVERHEAD)
        while self.queue and not interval.closed and not self.resources.over:
            if len(self.queue) > most or self.queue[0][0] >= self.stuck:
                break
            start = monotonic()
            count = min(batch.size, len(self.queue))
            picked = [heapq.heappop(self.queue) for _ in range(count)]
            lower, upper = (np.array([p[part] for p in picked]) for part in (2, 3))
            # Nothing beyond the closest point so far is of interest.
            ball = Boxes.of(self.query.ball(interval.cutoff))
            lower, upper = np.maximum(lower, ball.lower), np.minimum(upper, ball.upper)
            inside = np.all(lower <= upper, axis=1)
            self._split(lower[inside], upper[inside])
            interval.nodes += count
            self._raise()
            interval.report("halving boxes")
            batch.took(monotonic() - start)
        if not interval.closed and not self.resources.over:
            log.warning(
                "halving boxes ended at %.6g: its memory is used up, or boxes are left that are too"
                " small to halve", interval.lower,
            )  # fmt: skip

    def _raise(self) -> None:
        """Take the distance of the nearest open box as the lower end."""
        nearest = self.queue[0][0] if self.queue else np.inf
        self.interval.raise_lower(min(nearest, self.stuck), certified=True)

    def _split(self, lower: Singles, upper: Singles) -> None:
        """Halve the boxes that bounds do not exclude, and try their centres as points."""
        if not len(lower):
            return
        left = ~self._excluded(lower, upper)
        lower, upper = lower[left], upper[left]
        if not len(lower):
            return
        centre = centres(lower, upper)
        margin, slope = self._at(centre)
        for b in np.flatnonzero(margin <= 0.0)[:TRIED]:
            self.interval.add_candidate(
                centre[b].astype(np.float32), deadline=self.resources.deadline
            )
        for b, index in enumerate(inputs_to_halve(lower, upper, slope, self.width)):
            if index < 0:
                self.stuck = min(self.stuck, self._distance(lower[b], upper[b]))
                continue
            for part in halves(lower[b], upper[b], int(index)):
                self._push(*part)

    def _excluded(self, lower: Singles, upper: Singles) -> NDArray[np.bool_]:
        """(B,) True where every margin is proven positive."""

        def bounds(boxes: Boxes) -> Floats:
            layers = pre_activation_bounds(self.network, boxes)
            return linear_bounds(self.network, boxes, layers, self.rows)

        margins = bounds_where_there_are_any(bounds, Boxes(lower, upper), len(self.rows))
        positive: NDArray[np.bool_] = np.all(margins > 0.0, axis=1)
        return positive

    def _at(self, points: Floats) -> tuple[Floats, Floats]:
        """The smallest margin (N,) at points, and its gradient (N, inputs)."""
        network = self.network
        logits, _ = scores_and_gradients(network, points, np.zeros((len(points), network.classes)))
        margins = np.nan_to_num(logits.astype(np.float64) @ self.rows.T, nan=np.inf)
        least = np.argmin(margins, axis=1)
        slope = scores_and_gradients(network, points, self.rows[least])[1]
        return margins[np.arange(len(points)), least], slope

    def _push(self, lower: Singles, upper: Singles) -> None:
        distance = self._distance(lower, upper)
        if distance < self.interval.cutoff:
            heapq.heappush(self.queue, (distance, self.made, lower, upper))
            self.made += 1

    def _distance(self, lower: Singles, upper: Singles) -> float:
        """A lower bound of the distance of a box from the anchor."""
        away = np.maximum(lower.astype(np.float64) - self.centre, self.centre - upper)
        length = self.query.norm.length(np.maximum(away, 0.0))
        return max(0.0, float(np.nextafter(length * (1.0 - ROUNDED), -np.inf)))
