"""Bounds of all unstable neurons of a condensed network on boxes, each with lines of its own.

alpha-CROWN (Xu et al. 2021) for every neuron of every layer, from the first layer to the last:
where inputs are few and neurons many, the bounds of neurons are what the bounds of outputs lack,
and lines chosen for each of them gain as much as dozens of halves. On the condensed network a row
has a number per unstable neuron alone, and rows side by side are products of matrices.

Lines are looked for in float32, where nothing is proven. Bounds are those of one pass in float64
with the lines that were found: any slope from 0 to 1 is sound.

Rounding: a coefficient of a row is a sum, over the neurons above, of multipliers times numbers of
their rows, in whatever order. ``error`` of a condensed row covers that sum's roundings too, times
the largest value that each number meets: a multiplier m costs ``|m| error``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.relaxation.arrays import output_row
from graphprune.backends.relaxation.condensed import UNIT, Condensed
from graphprune.backends.relaxation.row_blocks import Batch, Floats, RowBlocks, Singles
from graphprune.errors import OutOfTimeError
from graphprune.runtime.resources import current
from graphprune.transforms.optimisation import ADAM

# Neurons that are bounded side by side, both sides of each.
TOGETHER = 64
# A neuron of the last layer has this part of the steps of the others.
LAST = 4
# More than what underflow loses in a row.
TINY = 1e-150

# Lower and upper bounds of a layer's unstable neurons.
Ends = tuple[Floats, Floats]


@dataclass(frozen=True, eq=False)
class _LayerLines:
    """The relaxation of a layer: from `lower` z to `upper` z + `offset`.

    Attributes
    ----------
    free
        Neurons that are unstable on the box, whose lower slopes may be any from 0 to 1.
    slack
        The rounding of a unit coefficient's lines.
    """

    upper: Floats
    offset: Floats
    lower: Floats
    free: NDArray[np.bool_]
    slack: Floats

    @classmethod
    def of(cls, ends: Ends) -> "_LayerLines":
        low, high = ends
        free = (low < 0.0) & (high > 0.0)
        active = np.where(low >= 0.0, 1.0, 0.0)
        width = np.where(free, high - low, 1.0)
        upper = np.where(free, high / width, active)
        # At both ends of the range the line is no lower than the function.
        offset = np.where(free, -upper * low * (1.0 + 8.0 * UNIT) + 8.0 * UNIT * high, 0.0)
        lower = np.where(free, (high > -low) * 1.0, active)
        return cls(upper, offset, lower, free, np.where(free, 16.0 * UNIT * width, 0.0))


class _RowsAbove:
    """Rows side by side, above layer `top`: (basis below, n), and what is added to each."""

    def __init__(self, numbers: Floats, offset: Floats, error: Floats) -> None:
        self.numbers, self.offset, self.error = numbers, offset, error

    def take(self, kept: NDArray[np.intp]) -> "_RowsAbove":
        """Some of the rows."""
        return _RowsAbove(self.numbers[:, kept], self.offset[kept], self.error[kept])


class LayerwiseBounds:
    """Bounds on boxes within the region that a network is condensed on.

    Parameters
    ----------
    weights, limits
        (K, outputs) and (K,): rows ``weights . y - limits`` that are bounded on top.
    """

    def __init__(self, condensed: Condensed, weights: Floats, limits: Floats) -> None:
        self.inputs = condensed.inputs
        self.layers = condensed.layers
        self.blocks = [RowBlocks(layer.rows) for layer in condensed.layers]
        self.outputs = [
            output_row(condensed, row, float(limit))
            for row, limit in zip(weights, limits, strict=True)
        ]
        self._roundings = UNIT * (condensed.basis + 64)

    @property
    def size(self) -> int:
        """Numbers of all rows."""
        return sum(blocks.size for blocks in self.blocks)

    @property
    def known(self) -> list[Ends]:
        """Bounds on the whole region."""
        return [(layer.lower, layer.upper) for layer in self.layers]

    def neurons(
        self, lower: Floats, upper: Floats, known: Sequence[Ends], steps: int
    ) -> list[Ends]:
        """Bounds of all layers' unstable neurons on a box.

        Parameters
        ----------
        known
            Bounds that hold there, as of a box around it.
        steps
            Steps of Adam for each neuron that the lines with the least area leave unstable.

        Raises
        ------
        OutOfTimeError
            The deadline of the current resources has passed.
        """
        found: list[Ends] = []
        lines: list[_LayerLines] = []
        for index, (low, high) in enumerate(known):
            low, high = low.copy(), high.copy()
            chosen = np.flatnonzero((low < 0.0) & (high > 0.0))
            # The last layer takes longest, and no other one gains by it.
            own = steps if index + 1 < len(known) else steps // LAST
            for part in _parts(chosen):
                bounds = self._best(self._of_neurons(index, part), lines, lower, upper, own)
                count = len(part)
                # Written so that NaN proves nothing.
                below, above = bounds[:count], -bounds[count:]
                low[part] = np.where(below > low[part], below, low[part])
                high[part] = np.where(above < high[part], above, high[part])
            found.append((low, high))
            lines.append(_LayerLines.of((low, high)))
        return found

    def rows(self, lower: Floats, upper: Floats, known: Sequence[Ends], steps: int) -> Floats:
        """Lower bounds (K,) of the rows on top, from bounds of all layers' neurons."""
        rows = _RowsAbove(
            np.stack([row.row for row in self.outputs], axis=1),
            np.array([row.offset for row in self.outputs]),
            np.array([row.error for row in self.outputs]),
        )
        lines = [_LayerLines.of(ends) for ends in known]
        return self._best(rows, lines, lower, upper, steps, paired=False)

    def _of_neurons(self, index: int, neurons: NDArray[np.intp]) -> _RowsAbove:
        """Pre-activations of a layer's neurons, then their negatives."""
        layer = self.layers[index]
        numbers = sparse.csr_array(layer.rows[neurons]).toarray().T
        offset, error = layer.offset[neurons], layer.error[neurons]
        return _RowsAbove(
            np.concatenate([numbers, -numbers], axis=1),
            np.concatenate([offset, -offset]), np.concatenate([error, error]),
        )  # fmt: skip

    def _best(
        self, rows: _RowsAbove, lines: Sequence[_LayerLines], lower: Floats, upper: Floats,
        steps: int, *, paired: bool = True,
    ) -> Floats:  # fmt: skip
        """Lower bounds of rows; optimised where neither of a pair shows its neuron's sign."""
        numbers = rows.numbers.copy()
        found = self._certified(numbers, rows, lines, None, lower, upper)
        if not lines or steps == 0:
            return found
        left = ~(found > 0.0)
        if paired:
            left = np.tile(left[: len(left) // 2] & left[len(left) // 2 :], 2)
        kept = np.flatnonzero(left)
        if not len(kept):
            return found
        rows = rows.take(kept)
        slopes = self._slopes(rows, numbers[:, kept], lines, lower, upper, steps)
        again = self._certified(rows.numbers, rows, lines, slopes, lower, upper)
        found[kept] = np.where(again > found[kept], again, found[kept])
        return found

    def _certified(
        self, numbers: Floats, rows: _RowsAbove, lines: Sequence[_LayerLines],
        slopes: Sequence[Singles] | None, lower: Floats, upper: Floats,
    ) -> Floats:  # fmt: skip
        """Lower bounds with the slopes given; `numbers` is overwritten with all coefficients."""
        if current().over:
            raise OutOfTimeError("time was over before the layers had bounds")
        constant, error = rows.offset.copy(), rows.error.copy()
        for j in range(len(lines) - 1, -1, -1):
            line, layer = lines[j], self.layers[j]
            here = numbers[layer.start : layer.start + len(line.upper)]
            error += line.slack @ np.abs(here)
            below, shift = _relaxed(here, line, None if slopes is None else slopes[j])
            constant += shift + layer.offset @ below
            error += layer.error @ np.abs(below) - self._roundings * shift
            self.blocks[j].add_combined(below, numbers)
        top = numbers[: self.inputs]
        least = np.minimum(top * lower[:, None], top * upper[:, None]).sum(axis=0)
        extent = np.maximum(np.abs(lower), np.abs(upper))
        error += 4.0 * UNIT * (self.inputs + 64) * (extent @ np.abs(top))
        error += 1e-13 * (np.abs(constant) + np.abs(least)) + TINY
        bound: Floats = constant + least - error
        return bound

    def _slopes(
        self, rows: _RowsAbove, exact: Floats, lines: Sequence[_LayerLines], lower: Floats,
        upper: Floats, steps: int,
    ) -> list[Singles]:  # fmt: skip
        """Slopes below for every row and neuron, by Adam from those with the least area.

        Parameters
        ----------
        exact
            All coefficients of the rows with those.
        """
        count = exact.shape[1]
        first, numbers = rows.numbers.astype(np.float32), exact.astype(np.float32)
        ends = lower.astype(np.float32)[:, None], upper.astype(np.float32)[:, None]
        slopes = [
            np.repeat(line.lower.astype(np.float32)[:, None], count, axis=1) for line in lines
        ]
        ascents = [_Ascent(one.shape) for one in slopes]
        for step in range(steps):
            if step:
                np.copyto(numbers, first)
                for j in range(len(lines) - 1, -1, -1):
                    start = self.layers[j].start
                    below, _ = _relaxed(
                        numbers[start : start + len(slopes[j])], lines[j], slopes[j]
                    )
                    self.blocks[j].add_combined(below, numbers)
            points = np.empty_like(numbers)
            points[: self.inputs] = np.where(numbers[: self.inputs] > 0.0, *ends)
            for j, line in enumerate(lines):
                start = self.layers[j].start
                part = slice(start, start + len(slopes[j]))
                here, z = numbers[part], self.blocks[j].values(points)
                z += self.layers[j].offset.astype(np.float32)[:, None]
                high = z * line.upper.astype(np.float32)[:, None]
                high += line.offset.astype(np.float32)[:, None]
                points[part] = np.where(here < 0.0, high, slopes[j] * z)
                z *= np.maximum(here, 0.0)
                z[~line.free] = 0.0
                ascents[j].take(slopes[j], z, step)
        return slopes


class _Ascent:
    """Adam on the slopes of a layer, projected onto [0, 1]."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean, self.square = np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    def take(self, slopes: Singles, gradient: Singles, step: int) -> None:
        """Take one step in place; `gradient` is overwritten."""
        self.mean *= ADAM.first
        self.mean += (1.0 - ADAM.first) * gradient
        gradient *= gradient
        gradient *= 1.0 - ADAM.second
        self.square *= ADAM.second
        self.square += gradient
        np.multiply(self.square, 1.0 / (1.0 - ADAM.second ** (step + 1)), out=gradient)
        np.sqrt(gradient, out=gradient)
        gradient += 1e-12
        np.divide(self.mean, gradient, out=gradient)
        gradient *= ADAM.rate * ADAM.decay**step / (1.0 - ADAM.first ** (step + 1))
        slopes += gradient
        np.clip(slopes, 0.0, 1.0, out=slopes)


def _relaxed(here: Batch, line: _LayerLines, slopes: Batch | None) -> tuple[Batch, Batch]:
    """Coefficients of pre-activations, from those (k, n) of activations; constants (n,)."""
    dtype = here.dtype
    negative = np.minimum(here, 0.0)
    shift = line.offset.astype(dtype) @ negative
    negative *= line.upper.astype(dtype)[:, None]
    below = np.maximum(here, 0.0)
    below *= line.lower.astype(dtype)[:, None] if slopes is None else slopes
    below += negative
    return below, shift


def _parts(chosen: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield neurons that are bounded side by side."""
    for start in range(0, len(chosen), TOGETHER):
        yield chosen[start : start + TOGETHER]
