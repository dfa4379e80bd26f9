"""The search: rungs of growing radius up to the upper bound."""

import logging
from math import log10
from time import monotonic

import numpy as np

from graphprune.backends.protocol import RELATIVE, Ledger, Limits
from graphprune.backends.search.rung import TOP, climb, last_radius

log = logging.getLogger("graphprune")

# Rungs as shares of the last radius, while they are easy.
SHARES = (0.6, 0.75, 0.84, 0.9, 0.94, 0.97, 0.985, 1.0)
# A rung that took at most this many nodes was easy: the next one is skipped.
EASY = 40
# Seconds from which on the next rung is chosen by what it should cost: trees grow tenfold over
# this share of the radius.
SLOW, TENFOLD = 1.0, 0.04
SMALLEST_STEP, LARGEST_STEP = 0.008, 0.06
# So few unstable neurons are solved to the absolute tolerance.
FEW = 12
# Without an upper bound, rungs grow by this factor.
GROWTH = 1.3
# An opening goes on where the roots prove this share of the radius.
PROMISING = 0.85


def opening(ledger: Ledger, limits: Limits) -> None:
    """The last rung first, with little effort: it settles easy questions without any other."""
    if np.isfinite(ledger.upper) and not ledger.closed and not limits.over:
        rung = climb(ledger, limits, last_radius(ledger), 0, least=PROMISING)
        ledger.raise_lower(rung.radius, certified=True)


class Search:
    """Branch and bound on the distance itself (see :mod:`graphprune.backends.search`)."""

    name = "search"

    def run(self, ledger: Ledger, limits: Limits) -> None:
        """Prove rung after rung until the ledger is closed or a limit is reached."""
        level = skip = 0
        step = LARGEST_STEP
        while not ledger.closed and not limits.over:
            radius = _next(ledger, skip, step)
            before, start = ledger.lower, monotonic()
            rung = climb(ledger, limits, radius, level)
            before = min(before, ledger.lower)  # a point may have refuted what was known
            ledger.raise_lower(rung.radius, certified=True)
            ledger.tell(f"rung {radius:.5f}", always=True)
            ledger.statistics.setdefault("rungs", []).append(
                (radius, rung.radius, rung.nodes, rung.level)
            )
            if ledger.lower <= before:
                if rung.full:
                    limit = limits.memory >> 20
                    log.warning("the search stopped at its memory limit of %d MiB", limit)
                break  # a limit, cases that numerics cannot close, or nothing left to gain
            easy = rung.nodes <= EASY and rung.level == level
            # What a rung needed, the next one needs from its start.
            level = rung.level
            skip = skip + 1 if easy else 0
            step = _step(rung.nodes, monotonic() - start, limits.remaining())
        # A few neurons more cost nothing: then the last digits too.
        few = ledger.statistics.get("unstable", FEW + 1) <= FEW
        fully = ledger.problem.gap <= RELATIVE
        if few and fully and ledger.upper <= ledger.problem.cutoff and not limits.over:
            last = last_radius(ledger, fine=True)
            if last > ledger.lower:
                ledger.raise_lower(
                    climb(ledger, limits, last, TOP, fine=True).radius, certified=True
                )


def _step(nodes: int, seconds: float, remaining: float) -> float:
    """How much of the last radius the next rung may add, after one of so many nodes and seconds.

    Where the nodes were few the time went into the roots, which cost about the same on any rung:
    small steps would only pay for them more often.
    """
    if seconds <= SLOW or nodes <= EASY or not np.isfinite(remaining):
        return LARGEST_STEP
    room = max(0.5 * remaining / seconds, 1.0)
    return min(max(TENFOLD * log10(room), SMALLEST_STEP), LARGEST_STEP)


def _next(ledger: Ledger, skip: int, step: float) -> float:
    """The next rung: the first share above what is proven, `skip` more where rungs are easy."""
    last = last_radius(ledger)
    if not np.isfinite(ledger.upper):
        return min(last, max(ledger.lower * GROWTH, 1e-3))
    higher = [share for share in SHARES if share * last > ledger.lower * 1.005]
    if not higher:
        return last
    if step < LARGEST_STEP:
        return min(last, ledger.lower + step * last)
    return last * higher[min(skip, len(higher) - 1)]
