"""The points that a bound is about: a box, or the part of it in a norm's ball."""

from dataclasses import dataclass, replace

import numpy as np

from graphprune.check.forms import MORE, TINY, AffineForm, Floats, csr, gamma, intervals
from graphprune.check.norms import BallNorm, norm_of

# Rows whose least values are looked for at once: they are dense.
ROWS = 512


@dataclass(frozen=True, eq=False)
class Points:
    """{v : low <= v <= high, ||v - center|| <= radius}.

    Attributes
    ----------
    low, high, center
        (n,) float64; the box is rounded outward.
    """

    low: Floats
    high: Floats
    center: Floats
    radius: float
    norm: BallNorm

    @classmethod
    def box(cls, low: Floats, high: Floats) -> "Points":
        """A box alone."""
        return cls(low, high, low, np.inf, norm_of(None))

    @classmethod
    def around(
        cls, center: Floats, radius: float, low: Floats, high: Floats, norm: BallNorm
    ) -> "Points":
        """The points of a box (n,) within a radius; an element whose ends are one does not move."""
        still = low == high
        lower = np.maximum(np.nextafter(center - radius, -np.inf), low)
        upper = np.minimum(np.nextafter(center + radius, np.inf), high)
        return cls(np.where(still, low, lower), np.where(still, high, upper), center, radius, norm)

    @property
    def ends(self) -> tuple[Floats, Floats]:
        """The box."""
        return self.low, self.high

    def within(self, low: Floats, high: Floats) -> "Points":
        """The part of it in a smaller box."""
        return replace(self, low=low, high=high)

    def minimum(self, c: Floats) -> Floats:
        """Lower bounds (R,) of c . v for rows c (R, n).

        Those of a ball that is a box lack its own rounding, which the callers pay with theirs.
        """
        corner: Floats = np.minimum(c * self.low, c * self.high).sum(axis=1)
        if self.norm.boxed:
            return corner
        n = gamma(c.shape[1] + 16)
        ends = np.maximum(np.abs(self.low), np.abs(self.high))
        corner = corner - n * (np.abs(c) @ ends)
        # Steps from the centre to the ends, a little longer.
        a = np.nextafter(self.low - self.center, -np.inf)
        b = np.nextafter(self.high - self.center, np.inf)
        value, size = self.norm.least(c, a, b, self.radius)
        center = c @ self.center
        error = n * (size + np.abs(c) @ np.abs(self.center)) + TINY
        return np.asarray(np.maximum(corner, center + value - error))

    def intervals(self, form: AffineForm, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """Proven bounds of a form over these points and a box of variable neurons' outputs.

        `low` and `high` are those of the whole basis, inputs first.
        """
        if self.norm.boxed:
            return intervals(form, low, high)
        n = len(self.low)
        rest = csr(form.rows[:, n:])
        outer = AffineForm(rest, form.offset, form.error)
        extent = np.maximum(np.abs(low), np.abs(high))
        width = form.rows.shape[1]
        lower, upper = intervals(outer, low[n:width], high[n:width])
        # Adding both parts rounds once more, and the error of an empty row is not 0.
        most = gamma(8) * form.magnitude(extent) + TINY
        for start in range(0, len(lower), ROWS):
            part = slice(start, start + ROWS)
            rows = form.rows[part, :n].toarray()
            lower[part] += self.minimum(rows)
            upper[part] -= self.minimum(-rows)
        return lower - MORE * most, upper + MORE * most
