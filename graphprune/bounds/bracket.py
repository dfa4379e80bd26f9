"""The interval of radii that a search for the largest certified one narrows."""

from collections.abc import Callable

import numpy as np

# The search stops when failed / certified radius is at most this.
PRECISION = 1.001
# Before anything is certified: the share of a failed radius from which on halving it is quick
# enough, and the least share that is tried next.
STEEP, LEAP = 0.2, 0.1


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
        self.limit, self.end, self.clearance = limit, end, clearance
        self.low, self.high = 0.0, np.inf
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
        return 0.0 < self.low < self.high < np.inf

    def reopen(self, factor: float) -> float:
        """Forget what other bounds failed on; the radius to begin with."""
        self.high, self.points, self.refused = np.inf, [], None
        return min(factor * self.low, self.limit)

    def add(self, radius: float, margin: float) -> None:
        if margin > 0:
            self.low = max(self.low, radius)
        else:
            self.high = min(self.high, radius)
        if np.isfinite(margin):
            self.points.append((radius, margin))

    def next(self, count: int = 1) -> list[float]:
        """Grow, shrink, or the model's root kept inside the bracket: up to `count` radii."""
        low, high = self.low, self.high
        if not np.isfinite(high):
            return [min(2.0 * low, self.limit) if low < self.limit else low * 2.0]
        if low == 0.0 and (far := self._far_below()) is not None:
            return [far]
        root = self._root() if len(self.points) > 1 else None
        if root is None or not np.isfinite(root):
            return [0.5 * (low + high)]
        # A little to the side of the root: one evaluation on each side closes the bracket.
        below, above = root * 0.9996, root * 1.0004
        if count > 1 and len(self.points) > 2 and low < below and above < high:
            return [below, above]
        aim = below if low < below and below - low > 0.3 * (high - low) else above
        width = high - low
        return [float(np.clip(aim, low + 0.05 * width, high - 0.05 * width))]

    def _far_below(self) -> float | None:
        """A much smaller radius where bounds are so bad that halving would take long; else None.

        Margins fall ever faster: where a line from the margin at the anchor vanishes, the radius
        is mostly certified.
        """
        known = [margin for radius, margin in self.points if radius == self.high]
        if not known:  # the bounds overflow
            return LEAP * self.high
        clearance = self.clearance()
        share = clearance / (clearance - known[0]) if clearance > 0.0 else 0.0
        return None if share >= STEEP else max(share, LEAP) * self.high

    def _root(self) -> float | None:
        """Where the line or parabola through the points nearest to the bracket vanishes.

        Inverse interpolation: the radius as a polynomial of the margin, taken at 0.
        """
        middle = 0.5 * (self.low + self.high)
        nearest = sorted(self.points, key=lambda point: abs(point[0] - middle))[:3]
        radii, margins = (np.array(part) for part in zip(*nearest, strict=True))
        if len(np.unique(margins)) < len(margins):
            return None
        total = 0.0
        for i, r in enumerate(radii):
            others = np.delete(margins, i)
            total += r * np.prod(others / (others - margins[i]))
        return total if self.low < total < self.high else None
