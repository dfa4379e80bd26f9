"""Branch and bound over ranges of pre-activations: the open cases, the most urgent one first."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.ranges.relaxation import CaseBounds, RangeCase, RangeRelaxation
from graphprune.backends.ranges.settings import DEFAULT, RangeSettings
from graphprune.backends.ranges.splitting import choose_splits
from graphprune.runtime.resources import Resources
from graphprune.transforms.optimisation import ADAM

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(eq=False, slots=True)
class RangeNode:
    """An open case, bounded.

    Attributes
    ----------
    row
        The tree's row that is to be excluded.
    bound, radius
        Proven of the row, less its limit; and that it is above it within this radius.
    neuron, place
        Where it is to be split; -1: nowhere.
    """

    case: RangeCase
    row: int
    bound: float
    radius: float
    neuron: int
    place: float


@dataclass(frozen=True, eq=False)
class Minimisers:
    """Inputs (n, inputs) where bounds of open cases are least, and the rows they are of."""

    rows: Ints
    points: Floats


class RangeTree:
    """Open cases: every point of the region with a row at or below its limit is in one.

    Parameters
    ----------
    rows, limits
        (K, outputs), (K,): ``row . y > limit`` is to be proven of each.
    by_bound
        Take the case with the least bound first, not the one with the least radius.
    radius
        That of the region's ball.
    """

    def __init__(
        self, relaxation: RangeRelaxation, rows: Floats, limits: Floats, resources: Resources,
        *, by_bound: bool = False, settings: RangeSettings = DEFAULT,
    ) -> None:  # fmt: skip
        self.relaxation = relaxation
        self.rows, self.limits = rows, limits
        self.resources = resources
        self.settings = settings
        self.ball = inf if relaxation.radius is None else relaxation.radius
        self.nodes = 0
        self.bytes = 0
        self._by_bound = by_bound
        self._heap: list[tuple[tuple[float, float], int, RangeNode]] = []
        # Cases that are as narrow as they get.
        self._stuck: list[RangeNode] = []
        self._made = 0
        self._small = relaxation.neurons <= settings.small
        # By row, how far the bound of its root was below 0.
        self._lack = np.full(len(rows), inf)
        cost = max(relaxation.network.multiply_adds, 1)
        most, least = settings.most_steps, settings.least_steps
        self._steps = int(min(max(settings.work / cost, least), most))
        # No deadline ends a pass: on networks of very many neurons few have to do.
        few = settings.root_work // max(relaxation.neurons, 1)
        self._root_steps = int(min(max(few, 4), settings.root_steps))

    def add_roots(self, rows: Sequence[int]) -> Minimisers:
        """Bound the whole region for some rows."""
        at_once, seen = self.relaxation.at_once, []
        for start in range(0, len(rows), at_once):
            part = np.array(rows[start : start + at_once], np.int64)
            roots = [self.relaxation.root() for _ in part]
            seen.append(self._add(roots, part, self._root_steps, np.zeros(len(part), bool)))
        for node in self.open_nodes():
            self._lack[node.row] = -node.bound
        return _joined(seen, self.relaxation)

    def __len__(self) -> int:
        return len(self._heap) + len(self._stuck)

    @property
    def waiting(self) -> int:
        """Number of cases that can be split."""
        return len(self._heap)

    @property
    def full(self) -> bool:
        """The memory limit is reached."""
        return self.bytes > self.resources.memory

    @property
    def radius(self) -> float:
        """No row reaches its limit nearer than this."""
        return min([self.ball, *(node.radius for node in self.open_nodes())])

    @property
    def open_rows(self) -> set[int]:
        """The rows of open cases."""
        return {node.row for node in self.open_nodes() if node.radius < self.ball}

    def open_nodes(self) -> list[RangeNode]:
        """All open cases."""
        return [*(node for _, _, node in self._heap), *self._stuck]

    def keep(self, rows: set[int]) -> None:
        """Give up the cases of all other rows."""
        self._heap = [entry for entry in self._heap if entry[2].row in rows]
        heapq.heapify(self._heap)
        self._stuck = [node for node in self._stuck if node.row in rows]
        self.bytes = sum(node.case.bytes for _, _, node in self._heap)

    def shrink(self, radius: float) -> None:
        """Go on on a smaller ball; everything proven stays so."""
        self.ball = min(self.ball, radius)
        if self._heap and self._heap[0][2].radius >= self.ball and not self._by_bound:
            self._heap.clear()
            self.bytes = 0
        self._stuck = [node for node in self._stuck if node.radius < self.ball]

    def expand(self) -> Minimisers:
        """Split and bound a batch of cases."""
        count = max(1, self.relaxation.at_once // 2)
        picked = [heapq.heappop(self._heap)[2] for _ in range(min(count, len(self._heap)))]
        self.bytes -= sum(node.case.bytes for node in picked)
        picked = [node for node in picked if node.radius < self.ball]
        if not picked:
            return _joined([], self.relaxation)
        neurons = np.array([node.neuron for node in picked], np.int64)
        places = np.array([node.place for node in picked], np.float32)
        children, empty = self.relaxation.split(
            [node.case for node in picked], neurons, places, again=self._small
        )
        rows = np.repeat([node.row for node in picked], 2)
        known = np.repeat([node.radius for node in picked], 2)
        self.nodes += len(picked)
        return self._add(children, rows, self._steps, empty, known)

    def _add(
        self,
        cases: list[RangeCase],
        rows: Ints,
        steps: int,
        empty: Bools,
        known: Floats | None = None,
    ) -> Minimisers:
        """Bound cases, of which some may be empty, and keep those that stay open."""
        known = np.zeros(len(cases)) if known is None else known
        left = np.flatnonzero(~empty)
        if not len(left):
            return _joined([], self.relaxation)
        cases, rows, known = [cases[r] for r in left], rows[left], known[left]
        rate = self.settings.rate if known.any() else ADAM.rate
        found = self._bounds(cases, rows, steps, rate)
        radius = np.fmax(found.radius, known)
        # Written so that not-a-number closes nothing.
        still = np.flatnonzero(~((found.bound > 0.0) | (radius >= self.ball)))
        if not len(still):
            return _joined([], self.relaxation)
        cases, found = [cases[r] for r in still], found.take(still)
        neurons, places = choose_splits(self.relaxation, cases, found)
        for r, case in enumerate(cases):
            case.alpha = found.alpha[r]
            case.multiplier = found.multiplier[r, case.free]
            self._push(
                RangeNode(
                    case, int(rows[still[r]]), float(found.bound[r]), float(radius[still[r]]),
                    int(neurons[r]), float(places[r]),
                )
            )  # fmt: skip
        return Minimisers(rows[still], found.points)

    def _bounds(self, cases: list[RangeCase], rows: Ints, steps: int, rate: float) -> CaseBounds:
        """Bound cases in few steps, and with all of them those that lack little then."""
        few = steps if self._small else min(steps, self.settings.few_steps)
        found = self.relaxation.bound(cases, self.rows[rows], self.limits[rows], few, rate=rate)
        lack = self.settings.near * self._lack[rows]
        near = np.flatnonzero((found.bound <= 0.0) & (found.bound > -lack))
        if few == steps or not len(near):
            return found
        for r in near:
            cases[r].alpha = found.alpha[r]
            cases[r].multiplier = found.multiplier[r, cases[r].free]
        some, asked = [cases[r] for r in near], rows[near]
        more = self.relaxation.bound(
            some, self.rows[asked], self.limits[asked], steps - few, rate=rate
        )
        return found.replaced(near, more)

    def _push(self, node: RangeNode) -> None:
        if node.neuron < 0:
            self._stuck.append(node)
            return
        self._made += 1
        self.bytes += node.case.bytes
        bound = float(np.nan_to_num(node.bound, nan=-inf))
        # Many cases may prove no radius at all: the worst bound comes first among them.
        order = (bound if self._by_bound else node.radius, bound)
        heapq.heappush(self._heap, (order, self._made, node))


def _joined(parts: Sequence[Minimisers], relaxation: RangeRelaxation) -> Minimisers:
    inputs = len(relaxation.compact.order[0])
    rows = [np.zeros(0, np.int64), *(part.rows for part in parts)]
    points = [np.zeros((0, inputs)), *(part.points for part in parts)]
    return Minimisers(np.concatenate(rows), np.concatenate(points))
