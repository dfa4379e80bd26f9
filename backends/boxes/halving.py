"""The choice of the input at which a box is halved."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds import Boxes
from graphprune.errors import GraphpruneError

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# An input's share in the choice that does not depend on the gradient, which vanishes where the
# function only bends.
WIDTH = 0.1
# Gradients beyond it are taken for it: sums of them with widths stay finite.
LARGEST = 1e200
# A batch may take so many seconds, or so many times what the quickest one took.
SECONDS, LONGER = 0.2, 4.0


class BatchSize:
    """The number of boxes to bound together: more as long as a batch takes hardly any longer.

    Parameters
    ----------
    largest
        Boxes of a batch at most.
    """

    def __init__(self, largest: int) -> None:
        self.size, self._largest, self._least = 1, largest, np.inf

    def took(self, seconds: float) -> None:
        """Note the time of the last batch; much of it does not depend on the number of boxes."""
        self._least = min(self._least, seconds)
        longest = max(SECONDS, LONGER * self._least)
        self.size = min(2 * self.size, self._largest) if seconds < longest else self.size // 2 or 1


def bounds_where_there_are_any(
    bounds: Callable[[Boxes], Floats], boxes: Boxes, rows: int
) -> Floats:
    """Lower bounds (B, rows) of a function on boxes; -inf on those where they overflow, or reach
    beyond where one of the network's functions is defined: the parts of these may have some."""
    try:
        return bounds(boxes)
    except GraphpruneError:
        count = len(boxes.lower)
        if count < 2:
            return np.full((count, rows), -np.inf)
    parts = (slice(None, count // 2), slice(count // 2, None))
    return np.concatenate(
        [bounds_where_there_are_any(bounds, boxes.take(part), rows) for part in parts]
    )


def inputs_to_halve(
    lower: Singles, upper: Singles, slope: Floats, whole: Floats
) -> NDArray[np.intp]:
    """Per box (B, inputs) the input whose halves promise most; -1 where none has a middle.

    Parameters
    ----------
    slope
        (B, inputs) the gradient, at the centres, of what is bounded; not finite where that
        overflows.
    whole
        (inputs,) widths of the box that all of these are parts of.
    """
    share = (upper.astype(np.float64) - lower) / whole
    change = np.minimum(np.nan_to_num(np.abs(slope)), LARGEST) * whole
    change /= np.maximum(change.sum(axis=1, keepdims=True), 1e-300)
    middle = middles(lower, upper)
    score = np.where((lower < middle) & (middle < upper), share * (WIDTH + change), -1.0)
    chosen = np.argmax(score, axis=1)
    return np.where(score[np.arange(len(chosen)), chosen] < 0.0, -1, chosen)


def middles(lower: Singles, upper: Singles) -> Singles:
    """Where boxes are halved."""
    return centres(lower, upper).astype(np.float32)


def centres(lower: Singles, upper: Singles) -> Floats:
    """Return the centres of boxes, up to a rounding in float64."""
    centre: Floats = 0.5 * lower.astype(np.float64) + 0.5 * upper.astype(np.float64)
    return centre


def halves(
    lower: Singles, upper: Singles, index: int
) -> tuple[tuple[Singles, Singles], tuple[Singles, Singles]]:
    """The two halves of one box (inputs,) at an input."""
    middle = middles(lower, upper)[index]
    below, above = upper.copy(), lower.copy()
    below[index] = above[index] = middle
    return (lower, below), (above, upper)
