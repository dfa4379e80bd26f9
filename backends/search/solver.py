"""The search: steps of growing radius up to the upper bound."""

import logging
from dataclasses import dataclass
from math import log10
from time import monotonic

import numpy as np

from graphprune.backends.protocol import RELATIVE, DistanceInterval
from graphprune.backends.search.radius_step import closing_radius, prove_radius
from graphprune.backends.search.settings import DEFAULT, ScheduleSettings, SearchSettings
from graphprune.runtime.resources import Resources

log = logging.getLogger("graphprune")


def first_attempt(
    interval: DistanceInterval, resources: Resources, settings: SearchSettings = DEFAULT
) -> None:
    """Try the closing radius first, with little effort: it settles easy questions at once."""
    if np.isfinite(interval.upper) and not interval.closed and not resources.over:
        step = prove_radius(
            interval, resources, closing_radius(interval), 0,
            least=settings.schedule.promising, settings=settings,
        )  # fmt: skip
        interval.raise_lower(step.radius, certified=True)


@dataclass(frozen=True)
class Search:
    """Branch and bound on the distance itself (see :mod:`graphprune.backends.search`)."""

    settings: SearchSettings = DEFAULT

    @property
    def name(self) -> str:
        return "search"

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Prove one radius after the other until the interval is closed or a limit is reached."""
        settings = self.settings
        schedule = RadiusSchedule(settings.schedule)
        level = 0
        while not interval.closed and not resources.over:
            radius = schedule.next(interval)
            before, start = interval.lower, monotonic()
            step = prove_radius(interval, resources, radius, level, settings=settings)
            before = min(before, interval.lower)  # a point may have refuted what was known
            interval.raise_lower(step.radius, certified=True)
            interval.report(f"radius {radius:.5f}", always=True)
            if interval.lower <= before:
                if step.full:
                    limit = resources.memory >> 20
                    log.warning("the search stopped at its memory limit of %d MiB", limit)
                break  # a limit, nodes that numerics cannot close, or nothing left to gain
            schedule.took(step.nodes, monotonic() - start, resources.remaining(),
                          harder=step.level > level)  # fmt: skip
            # The effort that a step needed is where the next one starts.
            level = step.level
        # A few neurons more cost nothing: then the last digits too.
        few = interval.at_most_unstable(settings.schedule.few)
        fully = interval.problem.gap <= RELATIVE
        if few and fully and interval.upper <= interval.problem.cutoff and not resources.over:
            radius = closing_radius(interval, fine=True)
            if radius > interval.lower:
                last = settings.step.last
                step = prove_radius(interval, resources, radius, last, fine=True, settings=settings)
                interval.raise_lower(step.radius, certified=True)


class RadiusSchedule:
    """The radii to be proven, from how long those before took."""

    def __init__(self, settings: ScheduleSettings = DEFAULT.schedule) -> None:
        self.settings = settings
        # Shares to be skipped, and the share that a step adds where they are slow.
        self.skip = 0
        self.step = settings.largest

    def took(self, nodes: int, seconds: float, remaining: float, *, harder: bool) -> None:
        """Note a step's nodes, its seconds, and whether it needed more effort than expected."""
        easy = nodes <= self.settings.easy and not harder
        self.skip = self.skip + 1 if easy else 0
        self.step = self.slow_step(nodes, seconds, remaining)

    def slow_step(self, nodes: int, seconds: float, remaining: float) -> float:
        """Return the share to be added after a step of so many nodes and seconds.

        Where the nodes were few the time went into the roots, which cost about the same on any
        radius: small steps would only pay for them more often.
        """
        s = self.settings
        if seconds <= s.slow or nodes <= s.easy or not np.isfinite(remaining):
            return s.largest
        room = max(0.5 * remaining / seconds, 1.0)
        return min(max(s.tenfold * log10(room), s.smallest), s.largest)

    def next(self, interval: DistanceInterval) -> float:
        """Return the first share above what is proven, or a later one where steps are easy."""
        last = closing_radius(interval)
        if not np.isfinite(interval.upper):
            return min(last, max(interval.lower * self.settings.growth, 1e-3))
        shares = self.settings.shares
        higher = [share for share in shares if share * last > interval.lower * 1.005]
        if not higher:
            return last
        if self.step < self.settings.largest:
            return min(last, interval.lower + self.step * last)
        return last * higher[min(self.skip, len(higher) - 1)]
