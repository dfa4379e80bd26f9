"""The search: steps of growing radius up to the upper bound."""

import logging
from dataclasses import dataclass
from functools import partial
from math import inf, isfinite, log10
from typing import Protocol

import numpy as np

from graphprune.backends.protocol import RELATIVE, DistanceInterval
from graphprune.backends.search.candidates import closing_radius
from graphprune.backends.search.cases import KnownCases
from graphprune.backends.search.outcome import RadiusStep
from graphprune.backends.search.radius_step import prove_radius
from graphprune.backends.search.settings import DEFAULT, ScheduleSettings, SearchSettings
from graphprune.runtime.resources import Resources

log = logging.getLogger("graphprune")


def first_attempt(
    interval: DistanceInterval, resources: Resources, settings: SearchSettings = DEFAULT
) -> None:
    """Try the closing radius first, with little effort: it settles easy questions at once.

    The last digits too, where few neurons are unstable.
    """
    if np.isfinite(interval.upper) and not interval.closed and not resources.over:
        digits = asks_for_digits(interval)
        step = prove_radius(
            interval, resources, closing_radius(interval, fine=digits), 0,
            fine=settings.schedule.few if digits else 0.0, least=settings.schedule.closing,
            settings=settings,
        )  # fmt: skip
        interval.raise_lower(step.radius, certified=True)


def asks_for_digits(interval: DistanceInterval) -> bool:
    """Return whether an interval is to be closed as far as that costs nothing."""
    fully = interval.problem.gap <= RELATIVE
    return fully and interval.upper <= interval.problem.cutoff


class RadiusProver(Protocol):
    """Proves as much of a ball as it can; `prove_radius` is one."""

    def __call__(
        self, interval: DistanceInterval, resources: Resources, radius: float, level: int, *,
        fine: float = 0.0, least: float | None = None,
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
        prove = self.prove or partial(prove_radius, known=KnownCases(), settings=settings)
        schedule, level = RadiusSchedule(settings.schedule), 0
        while not interval.closed and not resources.over:
            plan = schedule.next(interval, resources.remaining())
            before = interval.lower
            step = prove(
                interval, resources.within(plan.seconds), plan.radius, level, least=plan.least
            )
            if self.prove is not None and step.complete:
                level = step.level  # trees remember theirs by class
            before = min(before, interval.lower)  # a point may have refuted what was known
            interval.raise_lower(step.radius, certified=True)
            interval.report(f"radius {plan.radius:.5f}", always=True)
            if step.full and interval.lower <= before:
                limit = resources.memory >> 20
                log.warning("the search stopped at its memory limit of %d MiB", limit)
                break
            more = schedule.took(plan, step)
            if not more and interval.lower <= before and not interval.closed:
                log.warning(
                    "the search ended at %.6g, short of its limits: what is open is adversarial up"
                    " to rounding, and the model confirms no such point nearer", interval.lower,
                )  # fmt: skip
                break
        # A few neurons more cost nothing: then the last digits too.
        few = interval.at_most_unstable(settings.schedule.few)
        if few and asks_for_digits(interval) and not resources.over:
            radius = closing_radius(interval, fine=True)
            if radius > interval.lower:
                last = settings.step.last
                step = prove(interval, resources, radius, last, fine=inf)
                interval.raise_lower(step.radius, certified=True)


@dataclass(frozen=True)
class PlannedStep:
    """A radius to be proven.

    Attributes
    ----------
    least
        An attempt (see :func:`prove_radius`); None: with all the effort it takes.
    seconds
        After which it is given up.
    share
        The share of the closing radius that it adds to what is proven; of the proven radius where
        there is no end to close at.
    """

    radius: float
    least: float | None
    seconds: float
    share: float


class RadiusSchedule:
    """The radii to be proven.

    On wide networks attempts come first, which roots and small trees decide: they find the largest
    radius that is cheap, from above and below. Others go through fixed shares of the closing
    radius while that is a matter of moments. From there on every step pays for its roots anew,
    whatever its radius; its trees are what grows, and the next step is chosen by what that was on
    this network so far.

    Attributes
    ----------
    growth
        Trees grow tenfold over the inverse of this, a share of the closing radius.
    """

    def __init__(self, settings: ScheduleSettings = DEFAULT.schedule) -> None:
        self.settings = settings
        self.growth = settings.growth
        # The smallest radius that failed.
        self.failed = inf
        # Shares to be skipped.
        self.skip = 0
        # Seconds that the last complete step took for its trees and its roots, while radii are
        # chosen by them; None before.
        self.trees: float | None = None
        self.roots = 0.0
        # The largest share that a step may add.
        self.most = settings.largest
        # The factor by which an attempt goes beyond what is proven; a failed one took long.
        self.ahead, self.dear = settings.ahead, False
        # The radius asked about had a step of its own, with all the time there was.
        self.tried = False

    def next(self, interval: DistanceInterval, remaining: float) -> PlannedStep:
        """Return the step to be taken."""
        s, last, lower = self.settings, closing_radius(interval), interval.lower
        known = interval.witness is not None or last < s.near * lower
        scale = last if known else max(lower, 1e-3)
        # Shares are of what is proven, where that is far from the closing radius.
        part = max(lower / scale, s.low)
        if self.trees is None:
            radius = self._share(lower, last) if known else min(last, s.factor * scale)
            if interval.at_most_unstable(s.wide):
                share = (radius - lower) / scale
                return PlannedStep(radius, None, s.trial * remaining, share)
            if lower > 0.0:
                radius = min(radius, self.ahead * lower)
            if self.failed < inf:
                radius = min(radius, 0.5 * (lower + self.failed))
            share = (radius - lower) / scale
            if share > 0.5 * s.nearest * part and not self.dear:
                return PlannedStep(radius, s.promising, remaining, share)
            # With more effort they are no limit.
            self.trees, self.failed = 0.0, inf
        share, seconds = self.affordable(remaining)
        whole = (last - lower) / scale
        if known and self._decides(interval) and self._within_reach(interval, whole, remaining):
            # Less than the whole answers nothing.
            return PlannedStep(last, None, remaining, whole)
        share = min(share, s.largest * part)
        if lower < self.failed:
            share = min(share, max(s.below * (self.failed - lower) / scale, s.smallest))
        if share <= s.smallest:
            seconds = remaining  # the last resort
        return PlannedStep(min(last, lower + share * scale), None, seconds, share)

    def _share(self, lower: float, last: float) -> float:
        """Return the first fixed share above what is proven, or a later one where they are easy."""
        higher = [share for share in self.settings.shares if share * last > lower * 1.005] or [1.0]
        return last * higher[min(self.skip, len(higher) - 1)]

    def _decides(self, interval: DistanceInterval) -> bool:
        """Return whether all that is asked is if anything adversarial lies within a radius."""
        asked = interval.problem.cutoff
        return isfinite(asked) and asked < interval.upper

    def _within_reach(self, interval: DistanceInterval, whole: float, remaining: float) -> bool:
        """Return whether trees of the radius asked about may be finished, as far as is known.

        The first time nothing is known: a forecast there costs the roots, and tells.
        """
        first, self.tried = not self.tried and interval.at_most_unstable(self.settings.wide), True
        return first or whole <= self._share_within(remaining - self.roots)

    def affordable(self, remaining: float) -> tuple[float, float]:
        """Return the share that a step is to add, and the seconds after which it is given up.

        Some time is left for another step, unless that one could hardly prove more.
        """
        s, room = self.settings, remaining - self.roots
        if not isfinite(room):
            return self.most, inf
        share, limit = self._share_within(s.part * room), s.limit
        if share < s.worth:
            share, limit = self._share_within(s.all * room), 1.0
        seconds = remaining if room <= 0.0 else self.roots + limit * room
        return min(max(share, s.smallest), self.most), seconds

    def _share_within(self, seconds: float) -> float:
        """Return the share over which trees grow until they take so long."""
        before = max(self.trees or 0.0, self.settings.floor)
        return log10(max(seconds / before, 1.0)) / self.growth

    def took(self, plan: PlannedStep, step: RadiusStep) -> bool:
        """Note a step; return False where no smaller one is left to take."""
        s = self.settings
        easy = step.complete and step.nodes <= s.easy
        self.skip = self.skip + 1 if easy else 0
        if not step.complete:
            self.failed = min(self.failed, plan.radius)
        if plan.least is not None:
            if step.complete:
                self.ahead *= s.ahead
            else:
                seconds = step.root_seconds * (s.passes if step.hopeless else 1.0)
                self.dear = seconds > s.dear * plan.seconds
            return True
        if step.forecast is not None:
            self._foreseen(plan, step.forecast)
            return True
        measured = self._measured(plan, step)
        self.roots = step.root_seconds
        if step.complete:
            self.most = s.largest
            if self.trees is not None and measured is not None:
                self.growth = s.kept * self.growth + (1.0 - s.kept) * measured
            if self.trees is not None or step.root_seconds + step.tree_seconds > s.slow:
                self.trees = step.tree_seconds
            return True
        self.trees = self.trees or 0.0
        self.most = max(0.5 * plan.share, s.smallest)
        if measured is not None:
            self.growth = max(self.growth, s.beyond * measured)
        return step.stopped or plan.share > s.smallest

    def _foreseen(self, plan: PlannedStep, seconds: float) -> None:
        """Note a step whose trees were not worth their time: it tells how they grow."""
        s, before = self.settings, max(self.trees or 0.0, self.settings.floor)
        self.trees = self.trees or 0.0
        self.growth = max(log10(max(seconds / before, 1.0)) / plan.share, s.slowest)
        self.most = max(s.below * plan.share, s.smallest)

    def _measured(self, plan: PlannedStep, step: RadiusStep) -> float | None:
        """Return the growth from the step before to this one; None where they tell nothing."""
        s, before = self.settings, max(self.trees or 0.0, self.settings.floor)
        # Where they took less, it was more effort at the roots.
        if plan.share < 0.5 * s.worth or step.tree_seconds < max(before, s.quick):
            return None
        return s.faster * max(log10(step.tree_seconds / before) / plan.share, s.slowest)
