"""Linear relaxations of many cases of one region: ranges of pre-activations, lines, bounds.

All arrays of neurons are in the layout order of :mod:`graphprune.bounds.compact`, over all values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import Boxes, LayerBounds
from graphprune.bounds.compact import Compact, cases, compact, kernels, worthwhile
from graphprune.bounds.compact.engine import TINY, CompactEngine
from graphprune.bounds.problem import BoundsProblem, Method, round_down, round_up
from graphprune.bounds.protocol import Ascent
from graphprune.errors import UnsupportedError
from graphprune.ir import Network
from graphprune.ir.network import Activation, activation_of, interval_suffices, is_paired, operator
from graphprune.region import Norm, Region
from graphprune.runtime.resources import Resources, current
from graphprune.runtime.threads import blas_threads
from graphprune.transforms.optimisation import ADAM
from graphprune.transforms.relaxation import ancestors
from graphprune.transforms.rounding import gamma64

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# Numbers of an array of a batch of cases, at most; cases of one at most.
NUMBERS, MOST = 1 << 19, 32
# A range that has kept more than this share of its width is left as it was, with its lines.
KEPT = 0.97


@dataclass(eq=False, slots=True)
class RangeCase:
    """A part of the region, with what its bounds are computed from.

    Attributes
    ----------
    lower, upper
        (total,) ranges of pre-activations, those of activations alone.
    changed, lines
        (k,) neurons whose lines are not the region's own, and these (4, k, FAN).
    alpha
        (total,) places in the fans; cases share it.
    free, multiplier
        (m,) neurons with multipliers, and these.
    """

    lower: Singles
    upper: Singles
    changed: Ints
    lines: Singles
    alpha: Singles
    free: Ints
    multiplier: Floats

    @property
    def bytes(self) -> int:
        """Memory of a case."""
        arrays = (self.lower, self.upper, self.changed, self.lines, self.free, self.multiplier)
        return 600 + sum(array.nbytes for array in arrays)


@dataclass(frozen=True, eq=False)
class CaseBounds:
    """The bounds of a batch of n cases.

    Attributes
    ----------
    bound
        (n,) lower bounds of each one's row, less its limit.
    radius
        (n,) radii within which the row is proven to be above its limit.
    points
        (n, inputs) flat minimisers.
    alpha, multiplier
        (n, total) of the best bounds.
    output, before
        (n, total) coefficients of the row at activations, and the values of pre-activations at the
        minimisers, as the relaxation has them.
    line
        (n, total) values of the lines at the nearest pre-activation in its range.
    """

    bound: Floats
    radius: Floats
    points: Floats
    alpha: Singles
    multiplier: Floats
    output: Floats
    before: Floats
    line: Floats

    def replaced(self, part: Ints, found: "CaseBounds") -> "CaseBounds":
        """Those of all cases, with others for some of them."""
        own = [getattr(self, field.name).copy() for field in fields(self)]
        for array, field in zip(own, fields(self), strict=True):
            array[part] = getattr(found, field.name)
        return CaseBounds(*own)

    def take(self, part: Ints) -> "CaseBounds":
        """Those of some of the cases."""
        return CaseBounds(*(getattr(self, field.name)[part] for field in fields(self)))


def require_ranges(network: Network, norm: Norm, resources: Resources) -> None:
    """Refuse what the search over ranges does not know.

    Raises
    ------
    UnsupportedError
        The network is too large for its engine, runs on another device, or the norm has no kernel.
    """
    if norm.kernel is None and not norm.separable:
        raise UnsupportedError(f"the norm {norm} has no compiled form: no search knows it")
    if resources.device != "cpu" or not worthwhile(network, resources.memory // 2):
        raise UnsupportedError("the network is too large to be searched on this machine")


class RangeRelaxation:
    """A network on a region.

    Parameters
    ----------
    layers
        Bounds of all pre-activations on it.
    radius
        That of the region, where a radius is looked for in it.
    """

    def __init__(
        self, network: Network, region: Region, layers: Sequence[LayerBounds],
        radius: float | None = None,
    ) -> None:  # fmt: skip
        self.network = network
        self.region = region
        self.radius = radius
        self.compact: Compact = compact(network)
        self.net = kernels.Net.of(self.compact)
        self.boxes = Boxes.of(region)
        self.gamma = gamma64(2 * self.compact.roundings)
        self.lower, self.upper = (np.zeros(self.compact.total, np.float32) for _ in range(2))
        self.fan = np.zeros((4, self.compact.total, cases.FAN), np.float32)
        self.last = np.ones(len(network.activations) + 2, np.int64)
        self.state = kernels.LayerState.empty(1, self.compact.total)
        for index, layer in enumerate(layers):
            self.take(index, layer)
        top = len(network.activations)
        problem = BoundsProblem(network, self.boxes, "ibp", {}, layers)
        output = CompactEngine(problem, current(), Ascent()).interval(top)
        self.state.magnitude[0, self.place(top)] = output.magnitude[0, self.compact.order[top + 1]]
        self._inputs = self._input_arrays()

    def take(self, index: int, layer: LayerBounds) -> None:
        """Take the region's bounds of a layer, those below being known."""
        place, order = self.place(index), self.compact.order[index + 1]
        self.lower[place], self.upper[place] = layer.lower[0, order], layer.upper[0, order]
        self.state.magnitude[0, place] = layer.magnitude[0, order]
        lines, last = fan_of(self.activation(index), layer.lower, layer.upper)
        self.fan[:, place] = np.moveaxis(lines[:, :, 0], 1, 2)[:, order]
        self.last[index + 1] = last

    def activation(self, index: int) -> Activation:
        return activation_of(self.network.activations[index])

    def place(self, index: int) -> slice:
        """Where the neurons of an activation layer are."""
        return self.compact.place(index + 1)

    def _input_arrays(self) -> cases.Inputs:
        order, place = self.compact.order[0], self.compact.place(0)
        self.state.low[0, place] = self.boxes.lower[0, order]
        self.state.high[0, place] = self.boxes.upper[0, order]
        width = len(order)
        center = np.zeros(width)
        if self.radius is not None:
            center = self.region.center.astype(np.float64).reshape(-1)[order]
        kernel = self.boxes.norm.kernel
        balls: list[kernels.Balls | None] = [None, None]
        if self.boxes.center is not None and self.boxes.radius is not None and kernel is not None:
            middle = np.ascontiguousarray(self.boxes.center[:, order])
            balls = [kernels.Balls(middle, self.boxes.radius.copy(), kernel) for _ in range(2)]
        return cases.Inputs(
            self.state, balls[0], center, int(self.radius is not None),
            kernels.LayerState.empty(1, width), balls[1],
        )  # fmt: skip

    @property
    def neurons(self) -> int:
        """Number of neurons of all activation layers."""
        return int(self.compact.start[-1] - self.compact.start[1])

    @property
    def at_once(self) -> int:
        """Cases of a batch, at most."""
        return int(np.clip(NUMBERS // self.compact.total, 1, MOST))

    def root(self) -> RangeCase:
        """The whole region."""
        alpha = np.zeros(self.compact.total, np.float32)
        for index in range(len(self.network.activations)):
            # The middle of a fan is the best line by itself; of two lines it is the first.
            alpha[self.place(index)] = middle_of(int(self.last[index + 1]))
        nothing = np.zeros(0, np.int64)
        lines = np.zeros((4, 0, cases.FAN), np.float32)
        return RangeCase(self.lower, self.upper, nothing, lines, alpha, nothing, np.zeros(0))

    def bound(
        self, batch: Sequence[RangeCase], rows: Floats, limits: Floats, steps: int,
        target: int | None = None, rate: float = ADAM.rate,
    ) -> CaseBounds:  # fmt: skip
        """Optimise the bounds of rows (n, outputs), one in each of n cases, less limits (n,).

        Parameters
        ----------
        steps
            Steps of the ascent; 0: the case's own parameters.
        target
            The activation layer whose pre-activation the rows are on; None: the network's output.
        """
        n, total = len(batch), self.compact.total
        value = len(self.network.activations) + 1 if target is None else target + 1
        fans = np.empty((4, total, n, cases.FAN), np.float32)
        low, high = np.empty((total, n), np.float32), np.empty((total, n), np.float32)
        alpha, multiplier = np.empty((total, n)), np.zeros((total, n))
        free = np.zeros((total, n), np.uint8)
        fans[:] = self.fan[:, :, None]
        for r, case in enumerate(batch):
            fans[:, case.changed, r] = case.lines
            low[:, r], high[:, r], alpha[:, r] = case.lower, case.upper, case.alpha
            free[case.free, r], multiplier[case.free, r] = 1, case.multiplier
        arrays = cases.Cases(
            fans[0].reshape(-1), fans[1].reshape(-1), fans[2].reshape(-1), fans[3].reshape(-1),
            low.reshape(-1), high.reshape(-1), free.reshape(-1), alpha.reshape(-1),
            multiplier.reshape(-1),
        )  # fmt: skip
        room = cases.Ascending(*(np.zeros(total * n) for _ in cases.Ascending._fields))
        inputs = len(self.compact.order[0])
        outcome = cases.CaseResults(
            np.empty(n), np.full(n, self.radius or 0.0), np.empty(inputs * n)
        )
        task = cases.CaseTask(value, self.gamma, TINY, steps, rate, self.last, limits)
        given = self._sparse(rows, value)
        with blas_threads(current().threads):
            cases.bound_cases(self.net, self._inputs, given, arrays, room, task, outcome)
        points = np.empty((n, inputs))
        points[:, self.compact.order[0]] = outcome.points.reshape(inputs, n).T
        return CaseBounds(
            outcome.bound, outcome.radius, points,
            arrays.alpha.reshape(total, n).T.astype(np.float32),
            arrays.multiplier.reshape(total, n).T,
            *(part.reshape(total, n).T for part in (room.output, room.before, room.line)),
        )  # fmt: skip

    def _sparse(self, rows: Floats, value: int) -> kernels.SparseRows:
        """Rows (n, outputs) as the kernels read them."""
        ordered = rows[:, self.compact.order[value]]
        row, column = np.nonzero(ordered)
        pointer = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))])
        return kernels.SparseRows(
            np.zeros(len(rows), np.int64), pointer.astype(np.int64), column, ordered[row, column]
        )

    def split(
        self, parents: Sequence[RangeCase], neurons: Ints, places: Singles, *, again: bool
    ) -> tuple[list[RangeCase], Bools]:
        """The two parts (2 n) of each case, below and above a place of a neuron's range.

        Their other ranges and lines are narrowed as far as that follows. True: the part is empty.

        Parameters
        ----------
        again
            Bound every layer anew by CROWN, not by interval arithmetic alone.
        """
        doubled = [parent for parent in parents for _ in range(2)]
        lower, upper = (
            np.stack([getattr(p, name) for p in doubled]) for name in ("lower", "upper")
        )
        first = np.arange(0, len(doubled), 2)
        upper[first, neurons], lower[first + 1, neurons] = places, places
        lines: list[list[tuple[Ints, Singles]]] = [[(p.changed, p.lines)] for p in doubled]
        method: Method = "crown" if again else "ibp"
        problem = BoundsProblem(self.network, _repeated(self.boxes, len(doubled)), method)
        engine = CompactEngine(problem, current(), Ascent())
        empty = np.zeros(len(doubled), np.bool_)
        for index in range(len(self.network.activations)):
            place, order = self.place(index), self.compact.order[index + 1]
            box = engine.interval(index)
            low = np.maximum(lower[:, place], box.lower[:, order])
            high = np.minimum(upper[:, place], box.upper[:, order])
            if again and self._bounded_anew(index):
                low, high = self._anew(engine, index, low, high)
            empty |= (low > high).any(axis=1)
            low = np.minimum(low, high)
            before = [
                np.stack([getattr(p, name)[place] for p in doubled]) for name in ("lower", "upper")
            ]
            kept = (high - low) >= KEPT * (before[1] - before[0])
            kept &= ~self._is_at(place, np.repeat(neurons, 2), low.shape)
            low, high = np.where(kept, before[0], low), np.where(kept, before[1], high)
            lower[:, place], upper[:, place] = low, high
            for r, new in enumerate(self._lines_of(index, low, high, ~kept)):
                if len(new[0]):
                    lines[r].append(new)
            layer = self._layer(index, low, high, box.magnitude)
            if again:
                self._tell(index, layer, lines)
            problem.add(layer)
        children = []
        for r, parent in enumerate(doubled):
            changed, own = _merged(lines[r])
            free = np.append(parent.free, neurons[r // 2])
            free, where = np.unique(free, return_index=True)
            multiplier = np.append(parent.multiplier, 0.0)[where]
            children.append(
                RangeCase(lower[r], upper[r], changed, own, parent.alpha, free, multiplier)
            )
        return children, empty

    def _bounded_anew(self, index: int) -> bool:
        """True of a layer whose bounds by CROWN may be better than those by intervals."""
        return not interval_suffices(operator(self.network.activations[index])) and bool(
            ancestors(self.network, index)
        )

    def _anew(
        self, engine: CompactEngine, index: int, low: Singles, high: Singles
    ) -> tuple[Singles, Singles]:
        """Ranges (B, n) in layout order, or better ones by CROWN."""
        order, node = self.compact.order[index + 1], self.network.activations[index]
        chosen = np.zeros(low.shape, np.bool_)
        chosen[:, order] = low < high
        chosen &= self.network.live(node)
        if activation_of(node).piecewise_linear:
            chosen[:, order] &= (low < 0.0) & (high > 0.0)
        lower, upper = engine.neurons(index, chosen, until_stable=False)
        return (
            np.maximum(low, round_down(lower)[:, order]),
            np.minimum(high, round_up(upper)[:, order]),
        )

    def _is_at(self, place: slice, neurons: Ints, shape: tuple[int, ...]) -> Bools:
        """True (B, n) of the neuron of each case that lies in a layer."""
        found = np.zeros(shape, np.bool_)
        inside = np.flatnonzero((neurons >= place.start) & (neurons < place.stop))
        found[inside, neurons[inside] - place.start] = True
        return found

    def _lines_of(
        self, index: int, low: Singles, high: Singles, chosen: Bools
    ) -> list[tuple[Ints, Singles]]:
        """Per case the chosen neurons, and their lines on ranges (B, n) in layout order."""
        start, activation = self.place(index).start, self.activation(index)
        if not chosen.any():
            return [(np.zeros(0, np.int64), np.zeros((4, 0, cases.FAN), np.float32))] * len(chosen)
        if is_paired(activation):
            # Both of a pair follow each other, and have lines of their own.
            either = chosen.reshape(len(chosen), -1, 2).any(axis=2)
            chosen = np.repeat(either, 2, axis=1)
            ends = [side.reshape(len(side), -1, 2)[either] for side in (low, high)]
            lower, upper = (side.T.reshape(1, -1) for side in ends)
            lines, _ = fan_of(activation.on_pairs(lower.shape[1] // 2), lower, upper)
            lines = lines.reshape(4, cases.FAN, 2, -1).transpose(0, 3, 2, 1)
            lines = lines.reshape(4, -1, cases.FAN)
        else:
            lines, _ = fan_of(activation, low[chosen][None], high[chosen][None])
            lines = np.moveaxis(lines[:, :, 0], 1, 2)
        ends_of = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))])
        return [
            (start + np.flatnonzero(chosen[r]), lines[:, ends_of[r] : ends_of[r + 1]])
            for r in range(len(chosen))
        ]

    def _layer(self, index: int, low: Singles, high: Singles, magnitude: Singles) -> LayerBounds:
        """Ranges (B, n) in layout order as bounds of a layer."""
        order = self.compact.order[index + 1]
        lower, upper = np.empty_like(low), np.empty_like(high)
        lower[:, order], upper[:, order] = low, high
        return LayerBounds(lower, upper, magnitude)

    def _tell(
        self, index: int, layer: LayerBounds, lines: list[list[tuple[Ints, Singles]]]
    ) -> None:
        """Give a layer the best lines of the cases, which take long to find anew."""
        place, order = self.place(index), self.compact.order[index + 1]
        middle = middle_of(int(self.last[index + 1]))
        best = np.repeat(self.fan[:, None, place, middle], len(lines), axis=1).astype(np.float64)
        for r, parts in enumerate(lines):
            for changed, own in parts:
                here = (changed >= place.start) & (changed < place.stop)
                best[:, r, changed[here] - place.start] = own[:, here, middle]
        flat = np.empty_like(best)
        flat[:, :, order] = best
        layer.know_lines("crown", (flat[0], flat[1], flat[2], flat[3]))


def _ranges(batch: Sequence[RangeCase]) -> tuple[Singles, Singles]:
    """Ranges (n, total) of all cases."""
    return np.stack([case.lower for case in batch]), np.stack([case.upper for case in batch])


def middle_of(last: int) -> int:
    """The place in a fan of the line that is best by itself: of two lines it is the first."""
    return last // 2 if last > 1 else 0


def fan_of(activation: Activation, lower: Singles, upper: Singles) -> tuple[Singles, int]:
    """Lines (4, FAN, B, n) of an activation on ranges (B, n), and the last one that is of use."""
    ends = lower.astype(np.float64), upper.astype(np.float64)
    lines = np.stack(activation.lines(*ends, "fan"))
    if lines.ndim == 1 + lower.ndim:
        lines = np.stack([lines, np.stack(activation.lines(*ends, "alternative"))], axis=1)
    count = lines.shape[1]
    filled = np.empty((4, cases.FAN, *lower.shape), np.float32)
    filled[:, :count], filled[:, count:] = lines, lines[:, -1:]
    return filled, count - 1


def _merged(parts: Sequence[tuple[Ints, Singles]]) -> tuple[Ints, Singles]:
    """Lines of neurons, the later ones in place of the earlier ones."""
    neurons = np.concatenate([part[0] for part in parts])
    lines = np.concatenate([part[1] for part in parts], axis=1)
    # The last one of every neuron.
    neurons, where = np.unique(neurons[::-1], return_index=True)
    return neurons, lines[:, len(lines[0]) - 1 - where]


def _repeated(boxes: Boxes, count: int) -> Boxes:
    """A box several times."""
    center = None if boxes.center is None else np.repeat(boxes.center, count, axis=0)
    radius = None if boxes.radius is None else np.repeat(boxes.radius, count)
    lower, upper = (np.repeat(end, count, axis=0) for end in (boxes.lower, boxes.upper))
    return Boxes(lower, upper, center, radius, boxes.norm)
