"""Bounds by compiled kernels in float64 on the CPU: rows touch their receptive fields only."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds.compact import Compact, compact, worthwhile
from graphprune.bounds.compact.pace import Pace
from graphprune.bounds.problem import (
    BoundsProblem,
    Floats,
    LayerBounds,
    finite,
    round_down,
    round_up,
)
from graphprune.bounds.protocol import Ascent, EngineName
from graphprune.runtime.resources import Resources
from graphprune.runtime.threads import blas_threads, load_blas
from graphprune.transforms.optimisation import ADAM
from graphprune.transforms.rounding import gamma64

if TYPE_CHECKING:
    from graphprune.bounds.compact import backward, kernels

# Larger numbers are refused. An underflow is less than 1e-320: of a row, it moves a bound by less
# than TINY; of what a row multiplies, by less than gamma times the layout's FLOOR times the row.
LARGEST = 1e100
TINY = 1e-150
# Rows of a portion between two looks at the clock, at most.
MANY = 1024
# Passes that an optimiser step takes as long as, at most.
STEP = 16


class CompactEngine:
    """One problem on the arrays of a :class:`~graphprune.bounds.compact.Compact`."""

    name: ClassVar[EngineName] = "compact"

    def __init__(self, problem: BoundsProblem, resources: Resources, ascent: Ascent) -> None:
        from graphprune.bounds.compact import backward, kernels

        load_blas()  # kernels multiply matrices
        self.backward, self.kernels = backward, kernels
        self.problem = problem
        self.ascent = ascent
        self._threads = resources.threads
        self.compact: Compact = compact(problem.network)
        self.net = kernels.Net.of(self.compact)
        self.state = kernels.LayerState.empty(problem.batch, self.compact.total)
        self.gamma = gamma64(self.compact.roundings)
        order = self.compact.order[0]
        self.state.low[:, self.compact.place(0)] = problem.boxes.lower[:, order]
        self.state.high[:, self.compact.place(0)] = problem.boxes.upper[:, order]
        self._balls = self._ball_arrays()
        # Multiplications of a row that reaches all of the network.
        self._work = problem.network.multiply_adds + 1
        self._known = 0
        # Middles of the last layer's intervals, by its index.
        self._middles: dict[int, Floats] = {}
        self._other: kernels.LayerState | None = None

    @staticmethod
    def suits(problem: BoundsProblem, resources: Resources) -> bool:
        known = problem.boxes.norm.kernel is not None
        cheap = worthwhile(problem.network, resources.memory // 2)
        return known and resources.device == "cpu" and cheap

    def interval(self, index: int) -> LayerBounds:
        """Interval image of a segment."""
        lower, upper, magnitude = (self._flat(index, part) for part in self._interval(index))
        layer = LayerBounds(round_down(lower), round_up(upper), round_up(magnitude))
        finite(layer.lower, layer.upper, layer.magnitude)
        return layer

    def _interval(self, index: int) -> tuple[Floats, Floats, Floats]:
        """Lower, upper, magnitude (B, n) in layout order; the magnitude is noted for `_bounds`."""
        self._update()
        lower, upper = np.empty_like(self.state.low), np.empty_like(self.state.low)
        self.kernels.interval(self.net, self.state, index + 1, self.gamma, lower, upper)
        place = self.compact.place(index + 1)
        magnitude = self.state.magnitude[:, place]
        self._middles = {index: 0.5 * lower[:, place] + 0.5 * upper[:, place]}
        finite(lower[:, place], upper[:, place])
        if not np.all(magnitude < LARGEST):
            finite(np.full(1, np.inf))
        return lower[:, place], upper[:, place], magnitude

    def neurons(
        self, index: int, chosen: NDArray[np.bool_], *, until_stable: bool
    ) -> tuple[Floats, Floats]:
        """Relaxation bounds (B, n) of the chosen (B, n) neurons, infinite for the others."""
        self._update()
        order = self.compact.order[index + 1]
        box, neuron = np.nonzero(chosen[:, order])
        lower = np.full(chosen.shape, -np.inf)
        upper = np.full(chosen.shape, np.inf)
        sign = np.ones(len(box))
        if until_stable:
            # One side can show the sign of a neuron: most likely that of its interval's middle.
            if index not in self._middles:
                self._interval(index)
            sign[self._middles[index][box, neuron] < 0.0] = -1.0
        for _ in range(2):
            out = self._unit_rows(index, box, neuron, sign, until_stable=until_stable)
            up = sign > 0.0
            lower[box[up], order[neuron[up]]] = out[up]
            upper[box[~up], order[neuron[~up]]] = -out[~up]
            left = (out < 0.0) | (not until_stable)
            box, neuron, sign = box[left], neuron[left], -sign[left]
        return lower, upper

    def _unit_rows(
        self, index: int, box: NDArray[np.intp], neuron: NDArray[np.intp], sign: Floats, *,
        until_stable: bool,
    ) -> Floats:  # fmt: skip
        """Lower bounds of sign times neurons; -inf for those that time was too short for."""
        out, box, neuron = np.full(len(box), -np.inf), box.copy(), neuron.copy()
        for part in self._portions(box):
            count = part.stop - part.start
            given = self.kernels.SparseRows(
                box[part], np.arange(count + 1), neuron[part], sign[part]
            )
            out[part] = self._bounds(index, given, until_stable=until_stable)
            finite(out[part])
        return out

    def rows(self, index: int, rows: Floats) -> Floats:
        """Lower bounds (B, R) of rows (R, n) times the target of a segment.

        They are -inf for those that time was too short for, which the first ones never are.
        """
        self._interval(index)
        batch, count = self.problem.batch, len(rows)
        ordered = rows[:, self.compact.order[index + 1]]
        row, column = np.nonzero(ordered)
        per_row = np.bincount(row, minlength=count)
        given = self.kernels.SparseRows(
            np.repeat(np.arange(batch), count),
            np.concatenate([[0], np.cumsum(np.tile(per_row, batch))]),
            np.ascontiguousarray(np.tile(column, batch)),
            np.tile(ordered[row, column], batch),
        )
        out = np.full(batch * count, -np.inf)
        for part in self._portions(given.box, sure=True):
            some = _taken(given, part)
            found = self._bounds(index, some, until_stable=False)
            if self.problem.method == "alpha-crown":
                self._optimise(index, some, found)
            finite(found)
            out[part] = found
        return out.reshape(batch, count)

    def _portions(self, box: NDArray[np.intp], *, sure: bool = False) -> Iterator[slice]:
        """Yield portions of rows, given their boxes, in time: whole batches, whatever it takes.

        Bounds are the same to the last bit however rows are cut.
        """
        starts = batch_starts(box, self.backward.most_rows(self.compact.total))
        pace = Pace(MANY // self.backward.BATCH, self.backward.BATCH * self._work)
        for part in pace.portions(len(starts) - 1, sure=sure):
            yield slice(int(starts[part.start]), int(starts[part.stop]))

    def _bounds(self, index: int, given: "kernels.SparseRows", *, until_stable: bool) -> Floats:
        out = np.empty(len(given.box))
        way = self._descent(index, until_stable=until_stable)
        with blas_threads(self._threads):
            self.backward.lower_bounds(self.net, self.state, self._balls, given, way, out)
        return out

    def _descent(self, index: int, *, until_stable: bool) -> "backward.Descent":
        method = self.problem.method
        depth = index + 1 if method == "ibp" else 1
        return self.backward.Descent(
            index + 1, depth, self.gamma, TINY, method != "fastlin", until_stable
        )

    def _optimise(self, index: int, given: "kernels.SparseRows", out: Floats) -> None:
        """Improve the bounds `out` of rows by the relaxations that suit each of them best."""
        from graphprune.bounds.compact.optimise import ARRAYS, Adam, AscentState, ascend

        if self._other is None:
            self._other = self.kernels.LayerState.empty(self.problem.batch, self.compact.total)
            for below in range(len(self.problem.layers)):
                lines = self.problem.lines(below, alternative=True)
                order, place = self.compact.order[below + 1], self.compact.place(below + 1)
                for whole, line in zip(self._other[:4], lines, strict=True):
                    whole[:, place] = line[:, order]
        way = self._descent(index, until_stable=False)
        adam = Adam(self.ascent.steps, ADAM.rate, self.ascent.enough)
        below = int(self.net.start[way.target])
        most = min(self.backward.most_rows(self.compact.total, ARRAYS), len(out))
        state = AscentState.empty(most, below, self.compact, adam)
        pace = Pace(adam.steps, STEP * most * self._work)
        for begin, end in pairwise(batch_starts(given.box, most).tolist()):
            width = end - begin
            state.begin(begin, width, below)
            for part in pace.portions(adam.steps):
                batch = state._replace(width=width, first=part.start, last=part.stop)
                with blas_threads(self._threads):
                    width = ascend(
                        self.net, self.state, self._other, self._balls, given, way, batch, out
                    )
                if width == 0:
                    break

    def _update(self) -> None:
        """Take over what the problem has learnt about layers."""
        problem, state = self.problem, self.state
        for index in range(self._known, len(problem.layers)):
            order, place = self.compact.order[index + 1], self.compact.place(index + 1)
            ends, size = problem.image(index), problem.layers[index].magnitude
            # Intervals alone need no lines.
            lines = () if problem.method == "ibp" else problem.lines(index)
            arrays: list[NDArray[np.floating]] = [*lines, *ends, size]
            for name, array in zip(state._fields[-len(arrays) :], arrays, strict=True):
                whole: Floats = getattr(state, name)
                whole[:, place] = array[:, order]
        self._known = len(problem.layers)

    def _ball_arrays(self) -> "kernels.Balls | None":
        boxes = self.problem.boxes
        if boxes.center is None or boxes.radius is None or boxes.norm.kernel is None:
            return None
        center = np.ascontiguousarray(boxes.center[:, self.compact.order[0]])
        return self.kernels.Balls(center, boxes.radius, boxes.norm.kernel)

    def _flat(self, index: int, array: Floats) -> Floats:
        """A layer from layout order into flat order."""
        result = np.empty((len(array), array.shape[1]))
        result[:, self.compact.order[index + 1]] = array
        return result


def batch_starts(box: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Where batches of rows begin, of at most so many on one box each; and the end of the last."""
    place = np.arange(len(box))
    begins = np.diff(box, prepend=-1) != 0
    within = place - np.maximum.accumulate(np.where(begins, place, 0))
    return np.append(np.flatnonzero(within % most == 0), len(box))


def _taken(given: "kernels.SparseRows", part: slice) -> "kernels.SparseRows":
    """Some of the rows."""
    pointer = given.pointer[part.start : part.stop + 1]
    entries = slice(pointer[0], pointer[-1])
    return given._replace(
        box=given.box[part], pointer=pointer - pointer[0], column=given.column[entries],
        coefficient=given.coefficient[entries],
    )  # fmt: skip
