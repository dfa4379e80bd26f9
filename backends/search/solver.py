"""The search: steps of growing radius up to the upper bound."""

import logging
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite, log10
from typing import Protocol

import numpy as np

from graphprune.backends.protocol import RELATIVE, DistanceInterval
from graphprune.backends.search.radius_step import (
    RadiusStep,
    closing_radius,
    prove_radius,
)
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
            least=settings.schedule.closing, settings=settings,
        )  # fmt: skip
        interval.raise_lower(step.radius, certified=True)


class RadiusProver(Protocol):
    """Proves as much of a ball as it can; `prove_radius` is one."""

    def __call__(
        self, interval: DistanceInterval, resources: Resources, radius: float, level: int, *,
        fine: bool = False, least: float | None = None,
    ) -> RadiusStep: ...  # fmt: skip


@dataclass(frozen=True)
class Search:
    """Branch and bound on the distance itself (see :mod:`graphprune.backends.search`).

    Attributes
    ----------
    prove
        Proves the radii; None: by trees over the phases of ReLUs.
    """

    settings: SearchSettings = DEFAULT
    prove: RadiusProver | None = None

    @property
    def name(self) -> str:
        return "search"

    def run(self, interval: DistanceInterval, resources: Resources) -> None:
        """Prove one radius after the other until the interval is closed or a limit is reached."""
        settings = self.settings
        prove = self.prove or partial(prove_radius, settings=settings)
        schedule = RadiusSchedule(settings.schedule)
        while not interval.closed and not resources.over:
            plan = schedule.next(interval, resources.remaining())
            before = interval.lower
            step = prove(
                interval, resources.within(plan.seconds), plan.radius, plan.level, least=plan.least
            )
            before = min(before, interval.lower)  # a point may have refuted what was known
            interval.raise_lower(step.radius, certified=True)
            interval.report(f"radius {plan.radius:.5f}", always=True)
            if step.full and interval.lower <= before:
                limit = resources.memory >> 20
                log.warning("the search stopped at its memory limit of %d MiB", limit)
                break
            more = schedule.took(plan, step, resources.remaining())
            if not more and interval.lower <= before and not interval.closed:
                log.warning(
                    "the search ended at %.6g, short of its limits: what is open is adversarial up"
                    " to rounding, and the model confirms no such point nearer", interval.lower,
                )  # fmt: skip
                break
        # A few neurons more cost nothing: then the last digits too.
        few = interval.at_most_unstable(settings.schedule.few)
        fully = interval.problem.gap <= RELATIVE
        if few and fully and interval.upper <= interval.problem.cutoff and not resources.over:
            radius = closing_radius(interval, fine=True)
            if radius > interval.lower:
                last = settings.step.last
                step = prove(interval, resources, radius, last, fine=True)
                interval.raise_lower(step.radius, certified=True)


@dataclass(frozen=True)
class PlannedStep:
    """A radius to be proven.

    Attributes
    ----------
    level
        The effort level to start at.
    least
        An attempt (see :func:`prove_radius`); None: with all the effort it takes.
    seconds
        After which it is given up.
    share
        The share of the closing radius that it adds to what is proven; of the proven radius where
        there is no upper bound.
    """

    radius: float
    level: int
    least: float | None
    seconds: float
    share: float


class RadiusSchedule:
    """The radii to be proven.

    On wide networks attempts come first, which roots and small trees decide: they find the largest
    radius that is cheap, from above and below. Others go through fixed shares of the closing
    radius while that is a matter of moments. From there on every step pays for its roots anew,
    whatever its radius; its trees are what grows, and what the next step is chosen by.
    """

    def __init__(self, settings: ScheduleSettings = DEFAULT.schedule) -> None:
        self.settings = settings
        # The smallest radius whose attempt failed.
        self.failed = inf
        # Shares to be skipped, and the effort level that a step starts at.
        self.skip = 0
        self.level = 0
        # The share that a step adds to what is proven; None: the next fixed one.
        self.step: float | None = None

    def next(self, interval: DistanceInterval, remaining: float) -> PlannedStep:
        """Return the step to be taken."""
        s, last, lower = self.settings, closing_radius(interval), interval.lower
        known = interval.witness is not None
        scale = last if known else max(lower, 1e-3)
        if self.step is None:
            radius = self._share(lower, last) if known else min(last, s.growth * scale)
            if interval.at_most_unstable(s.wide):
                share = (radius - lower) / scale
                return PlannedStep(radius, self.level, None, s.limit * remaining, share)
            if self.failed < inf:
                radius = min(radius, 0.5 * (lower + self.failed))
            if radius - lower > 0.5 * s.nearest * scale:
                share = (radius - lower) / scale
                return PlannedStep(radius, 0, s.promising, remaining, share)
            self.step = min(max((self.failed - lower) / scale, s.smallest), s.largest)
        radius = min(last, lower + self.step * scale)
        # The last resort has all the time that is left.
        limit = s.limit if self.step > s.smallest else 1.0
        return PlannedStep(radius, self.level, None, limit * remaining, self.step)

    def _share(self, lower: float, last: float) -> float:
        """Return the first fixed share above what is proven, or a later one where they are easy."""
        higher = [share for share in self.settings.shares if share * last > lower * 1.005] or [1.0]
        return last * higher[min(self.skip, len(higher) - 1)]

    def took(self, plan: PlannedStep, step: RadiusStep, remaining: float) -> bool:
        """Note a step and the seconds left; return False where no smaller one is left to take."""
        s = self.settings
        easy = step.complete and step.nodes <= s.easy and step.level <= plan.level
        self.skip = self.skip + 1 if easy else 0
        if plan.least is not None:
            if not step.complete:
                self.failed = min(self.failed, plan.radius)
            return True
        if step.complete:
            # The effort that a step needed is where the next one starts.
            self.level = step.level
            self.step = self.affordable(step, remaining)
            return True
        self.step = max(0.5 * plan.share, s.smallest)
        return step.stopped or plan.share > s.smallest

    def affordable(self, step: RadiusStep, remaining: float) -> float | None:
        """Return the share to be added after a step, from what its roots and trees took."""
        s = self.settings
        if step.root_seconds + step.tree_seconds <= s.slow or not isfinite(remaining):
            # The attempts that failed say nothing any more where what is proven is beyond them.
            return None if self.failed == inf else s.largest
        room = s.budget * (remaining - step.root_seconds) / max(step.tree_seconds, 1e-3)
        return min(max(s.tenfold * log10(max(room, 1.0)), s.smallest), s.largest)
