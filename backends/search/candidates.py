"""Points that trees find: they go to the interval, whose end shrinks the ball."""

from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.primal_heuristic import search_near
from graphprune.backends.protocol import ABSOLUTE, RELATIVE, DistanceInterval
from graphprune.backends.search.settings import StepSettings
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]


def closing_radius(interval: DistanceInterval, *, fine: bool = False) -> float:
    """The radius whose proof closes the interval; `fine`: to the absolute tolerance alone."""
    if interval.upper > interval.problem.cutoff:
        return interval.problem.cutoff
    relative = min(RELATIVE, interval.problem.gap)
    gap = ABSOLUTE if fine else max(ABSOLUTE, relative * interval.upper)
    return max(0.0, interval.upper - 0.9 * gap)


@dataclass(frozen=True)
class CandidateSink:
    """A tree's points go to the interval, where the original model confirms them."""

    interval: DistanceInterval
    resources: Resources
    settings: StepSettings
    fine: bool

    @property
    def radius(self) -> float:
        return closing_radius(self.interval, fine=self.fine)

    def add_candidate(self, x: Floats) -> None:
        self.interval.add_candidate(x, deadline=self.resources.deadline)

    def search_near(self, target: int, x: Floats) -> None:
        interval, settings, start = self.interval, self.settings, monotonic()
        most = settings.primal_seconds + settings.primal_share * interval.elapsed
        if interval.primal_seconds <= most:
            search_near(interval, target, x, self.resources.deadline)
            interval.primal_seconds += monotonic() - start
