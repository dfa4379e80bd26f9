"""Portions of work between two looks at the clock, as large as what they take allows."""

from collections.abc import Iterator
from time import monotonic

import numpy as np

from graphprune.runtime.resources import current

# Seconds that a portion should take, and the factor by which the next one is larger at most.
SECONDS, FASTER = 0.25, 4.0
# Multiplications with a weight that take no longer, on any machine.
UNITS = 1 << 30


class Pace:
    """Cuts equal pieces of work into portions that take about `SECONDS` each.

    On a busy machine, where all work takes longer, portions are smaller.

    Parameters
    ----------
    most
        Pieces of a portion, at most.
    work
        A guess of what a piece takes, in `UNITS`, for the first portion.
    """

    def __init__(self, most: int, work: float = np.inf) -> None:
        self.most = max(1, most)
        self.size = min(max(int(UNITS / work), 1), self.most)

    def portions(self, count: int, *, sure: bool = False) -> Iterator[slice]:
        """Yield portions of so many pieces, until the deadline of the current resources passes.

        Parameters
        ----------
        sure
            The first portion is given even where time is over.
        """
        start = 0
        while start < count and ((sure and start == 0) or not current().over):
            end, began = min(start + self.size, count), monotonic()
            yield slice(start, end)
            self._took(end - start, monotonic() - began)
            start = end

    def _took(self, pieces: int, seconds: float) -> None:
        """Choose the size of the next portion by what one took."""
        wanted = FASTER * pieces if seconds <= 0.0 else pieces * min(SECONDS / seconds, FASTER)
        if wanted >= self.size or pieces == self.size:
            self.size = min(max(int(wanted), 1), self.most)
