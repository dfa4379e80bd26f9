"""The interval of radii that a search for the largest certified one narrows."""

from collections.abc import Callable
from functools import cached_property
from math import inf, isfinite, log1p, sqrt

# The search stops when failed / certified radius is at most this.
PRECISION = 1.001
# Before anything is certified: the share of the guessed root, and the least one of a failed radius,
# that is tried next.
BELOW, LEAP = 0.9, 0.1
# The least factor by which a certified radius grows, while none has failed.
GROWTH = 1.05
# The share of a bracket that its next point keeps from its ends.
INSIDE = 0.05
# Margins are bent from so many times the anchor's own below 0 on.
BEND = 3.0


class Bracket:
    """Root finding on the certified margin: [low, high] and a model through points.

    Parameters
    ----------
    limit
        Radii beyond it are of no interest.
    end
        The largest radius that may be tried at all.
    clearance
        Gives the margin at radius 0.
    """

    def __init__(self, limit: float, end: float, clearance: Callable[[], float]) -> None:
        self.limit, self.end, self._clearance = limit, end, clearance
        self.low, self.high = 0.0, inf
        self.points: list[tuple[float, float]] = []
        # The last radius whose ball has no bounds, and why.
        self.refused: tuple[float, str] | None = None

    @property
    def obstacle(self) -> str | None:
        """Why no larger radius has bounds; None where margins end the search, or nothing does."""
        return self.refused[1] if self.refused and self.refused[0] == self.high else None

    @property
    def closed(self) -> bool:
        """The root is known to the precision, or beyond what may be tried."""
        known = self.high <= PRECISION * self.low or self.high < 1e-9
        return self.low >= self.end or known

    @property
    def open_above(self) -> bool:
        """Better bounds may certify more: something is certified, and a larger radius failed."""
        return 0.0 < self.low < self.high < inf

    def reopen(self, factor: float) -> float:
        """Forget what other bounds failed on; the radius to begin with."""
        self.high, self.points, self.refused = inf, [], None
        return min(factor * self.low, self.limit)

    def add(self, radius: float, margin: float) -> None:
        if margin > 0:
            self.low = max(self.low, radius)
        else:
            self.high = min(self.high, radius)
        if isfinite(margin):
            self.points.append((radius, margin))

    def next(self, count: int = 1) -> list[float]:
        """Return the radii to be tried next, up to `count`: near where the model vanishes."""
        low, high, root = self.low, self.high, self._root()
        if high == inf:
            if low >= self.limit or root is None:
                return [min(2.0 * low, self.limit) if low < self.limit else 2.0 * low]
            return [min(max(root, GROWTH * low), self.limit)]
        if low == 0.0:
            return [LEAP * high if root is None else max(min(root, high) * BELOW, LEAP * high)]
        if root is None:
            return [0.5 * (low + high)]
        # A little to the side of the root: one evaluation on each side closes the bracket.
        below, above, width = root * 0.9996, root * 1.0004, high - low
        if count > 1 and len(self.points) > 2 and low < below and above < high:
            return [below, above]
        outside = above if above < high else 0.5 * (low + high)
        aim = below if below - low > 0.3 * width else outside
        return [min(max(aim, low + INSIDE * width), high - INSIDE * width)]

    @cached_property
    def clearance(self) -> float:
        """The margin at radius 0."""
        return self._clearance()

    def _root(self) -> float | None:
        """Where the model of the margin vanishes within the bracket; None where it does not.

        A parabola through the anchor's own margin and the two points nearest to 0, as margins fall
        ever faster; or a line.
        """
        here = self.clearance
        if not here > 0.0:
            return None
        straight = sorted(
            ((r, self._straightened(m)) for r, m in self.points), key=lambda p: abs(p[1])
        )
        guesses = []
        if len(straight) > 1:
            (first, one), (second, other) = straight[:2]
            # Slopes from the anchor to both: their difference is the curvature.
            bend = ((other - here) / second - (one - here) / first) / (second - first)
            slope = (one - here) / first - bend * first
            if bend < 0.0:
                guesses.append((-slope - sqrt(slope * slope - 4.0 * bend * here)) / (2.0 * bend))
            elif one != other:
                guesses.append(first - one * (second - first) / (other - one))
        if straight and straight[0][1] < here:
            first, one = straight[0]
            guesses.append(first * here / (here - one))
        return next((root for root in guesses if self.low < root < self.high), None)

    def _straightened(self, margin: float) -> float:
        """Return a margin, or its logarithm far below 0, where it falls about exponentially."""
        scale = BEND * self.clearance
        return margin if margin >= 0.0 else -scale * log1p(-margin / scale)
