"""The choice of the input at which a box is halved."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# An input's share in the choice that does not depend on the gradient, which vanishes where the
# function only bends.
WIDTH = 0.1
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


def inputs_to_halve(
    lower: Singles, upper: Singles, slope: Floats, whole: Floats
) -> NDArray[np.intp]:
    """Per box (B, inputs) the input whose halves promise most; -1 where none has a middle.

    Parameters
    ----------
    slope
        (B, inputs) the gradient, at the centres, of what is bounded.
    whole
        (inputs,) widths of the box that all of these are parts of.
    """
    share = (upper.astype(np.float64) - lower) / whole
    change = np.abs(slope) * whole
    change /= np.maximum(change.sum(axis=1, keepdims=True), 1e-300)
    middle = middles(lower, upper)
    score = np.where((lower < middle) & (middle < upper), share * (WIDTH + change), -1.0)
    chosen = np.argmax(score, axis=1)
    return np.where(score[np.arange(len(chosen)), chosen] < 0.0, -1, chosen)


def middles(lower: Singles, upper: Singles) -> Singles:
    """Where boxes are halved."""
    return (0.5 * lower.astype(np.float64) + 0.5 * upper.astype(np.float64)).astype(np.float32)


def halves(
    lower: Singles, upper: Singles, index: int
) -> tuple[tuple[Singles, Singles], tuple[Singles, Singles]]:
    """The two halves of one box (inputs,) at an input."""
    middle = middles(lower, upper)[index]
    below, above = upper.copy(), lower.copy()
    below[index] = above[index] = middle
    return (lower, below), (above, upper)
