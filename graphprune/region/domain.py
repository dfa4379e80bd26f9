"""Domains: the box that perturbed points must stay in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError
from graphprune.region.norms import LINF, norm_of

Floats = NDArray[np.float64]
# One number for every input element, or an array of the sample shape.
Ends = float | Floats

# Searches without a domain and a radius end here.
SEARCH_LIMIT = 1e3


@dataclass(frozen=True, eq=False)
class Domain:
    """Box that perturbed points must stay in: one interval for all input elements, or one each.

    ``Domain()`` is [0, 1]; ``Domain(-inf, inf)`` means no domain.

    Attributes
    ----------
    low, high
        Numbers, or arrays of the sample shape.
    """

    low: Ends = 0.0
    high: Ends = 1.0

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            end = getattr(self, name)
            if isinstance(end, np.ndarray | list | tuple):
                fixed = np.array(end, np.float64)
                fixed.setflags(write=False)
                object.__setattr__(self, name, fixed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Domain):
            return NotImplemented
        return np.array_equal(self.low, other.low) and np.array_equal(self.high, other.high)

    def __hash__(self) -> int:
        return hash(tuple(np.asarray(end, np.float64).tobytes() for end in self._both))

    @property
    def _both(self) -> tuple[Ends, Ends]:
        return self.low, self.high

    @property
    def uniform(self) -> bool:
        """True where all elements share one interval."""
        return all(np.ndim(end) == 0 for end in self._both)

    @property
    def bounded(self) -> bool:
        return all(bool(np.all(np.isfinite(end))) for end in self._both)

    @property
    def interval(self) -> tuple[float, float]:
        """The ends that all elements share.

        Raises
        ------
        GraphpruneError
            The elements have intervals of their own.
        """
        if isinstance(self.low, np.ndarray) or isinstance(self.high, np.ndarray):
            raise GraphpruneError("the domain has other ends for every element; here it needs one")
        return self.low, self.high

    @property
    def outermost(self) -> tuple[float, float]:
        """The least lower and the greatest upper end."""
        return float(np.min(self.low)), float(np.max(self.high))

    @property
    def span(self) -> str:
        """The outermost ends for a message: ``[0, 1]``."""
        low, high = self.outermost
        return f"[{low:g}, {high:g}]"

    @property
    def text(self) -> str:
        """The ends for metadata: ``0.0,1.0``, or a digest where every element has its own."""
        if self.uniform:
            return f"{self.low},{self.high}"
        stacked = np.stack(np.broadcast_arrays(*self._both))
        digest = hashlib.sha256(np.ascontiguousarray(stacked, np.float64).tobytes())
        return "sha256 of float64 [low, high] " + digest.hexdigest()

    @property
    def option(self) -> str:
        """The text of the command line's option: ``0,1`` or ``none``."""
        if self == Domain(-inf, inf):
            return "none"
        return f"{self.low:g},{self.high:g}" if self.uniform else self.text

    def to_json(self) -> list[Any] | None:
        """[low, high] with null for an infinite end; null for no domain."""
        ends = [_finite(np.asarray(end).tolist()) for end in self._both]
        return None if ends == [None, None] else ends

    @classmethod
    def from_json(cls, ends: Sequence[Any] | None) -> "Domain":
        """Inverse of `to_json`."""
        low, high = ends or (None, None)
        return cls(_infinite(low, -inf), _infinite(high, inf))

    def require_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse ends of another shape than the samples'.

        Raises
        ------
        GraphpruneError
            Both shapes.
        """
        for end in self._both:
            if np.ndim(end) and np.shape(end) != shape:
                raise GraphpruneError(
                    f"the domain has ends of shape {np.shape(end)}, the samples {shape}"
                )

    def ends(self, dtype: np.dtype[np.floating]) -> tuple[NDArray[np.floating], ...]:
        """The outermost numbers of a type that lie inside: the nearest ones may lie outside."""
        low, high = (np.asarray(end, np.float64).astype(dtype) for end in self._both)
        # Compared in float64: a Python number would be rounded to the array's type.
        below, above = low.astype(np.float64) < self.low, high.astype(np.float64) > self.high
        low = np.where(below, np.nextafter(low, dtype.type(inf)), low)
        high = np.where(above, np.nextafter(high, dtype.type(-inf)), high)
        return low, high

    def box(self, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
        """Lower and upper ends of every element of a sample."""
        low, high = (np.broadcast_to(np.asarray(end, np.float64), shape) for end in self._both)
        return low, high

    def clip(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """The nearest points (N, *sample) inside, in the points' own type."""
        return np.clip(points, *self.ends(points.dtype))

    def contains(self, x: NDArray[np.floating]) -> bool:
        return bool(np.all(x >= self.low) and np.all(x <= self.high))

    def steps(self, x: NDArray[np.floating]) -> tuple[Floats, Floats]:
        """Least (<= 0) and greatest (>= 0) steps of every element of `x` that stay inside."""
        point = x.astype(np.float64)
        return np.minimum(self.low - point, 0.0), np.maximum(self.high - point, 0.0)

    def reach(self, x: NDArray[np.floating], norm: str = LINF) -> float:
        """Radius of the smallest ball around `x` that covers the domain (inf: none)."""
        point = x.astype(np.float64)
        return norm_of(norm).length(np.maximum(point - self.low, self.high - point))

    def search_limit(
        self, x: NDArray[np.floating], norm: str = LINF, radius: float | None = None
    ) -> float:
        """Largest radius that searches try: the one asked for, up to the reach where there is one.

        Where there is neither it is a limit that proves nothing about what is beyond.
        """
        limit = min(self.reach(x, norm), inf if radius is None else radius)
        return limit if np.isfinite(limit) else SEARCH_LIMIT


def _finite(value: Any) -> Any:
    """Nested lists of numbers with None in the place of infinities."""
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return value if np.isfinite(value) else None


def _infinite(value: Any, end: float) -> Any:
    """Inverse of `_finite`, with `end` for None."""
    if isinstance(value, list):
        return [_infinite(part, end) for part in value]
    return end if value is None else value
