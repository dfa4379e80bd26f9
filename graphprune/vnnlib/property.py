"""A VNN-LIB file in normal form and in exact rational numbers."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Constraint:
    """sum of coefficient * Y_j <= limit.

    Attributes
    ----------
    terms
        (j, coefficient), j increasing, coefficients not 0.
    limit
        The right side.
    """

    terms: tuple[tuple[int, Fraction], ...]
    limit: Fraction

    def holds(self, outputs: NDArray[np.floating]) -> bool:
        """Decide in exact arithmetic if the (flat) outputs satisfy it."""
        if not all(np.isfinite(outputs[j]) for j, _ in self.terms):
            return False
        return sum((c * Fraction(float(outputs[j])) for j, c in self.terms), Fraction()) <= (
            self.limit
        )

    @property
    def compares(self) -> bool:
        """True where it is about the order of two outputs, which a common function keeps."""
        return len(self.terms) == 2 and self.limit == 0 and self.terms[0][1] == -self.terms[1][1]

    def row(self, outputs: int) -> Floats:
        """The coefficients as a float64 row (outputs,), each rounded once."""
        row = np.zeros(outputs)
        for j, coefficient in self.terms:
            row[j] = float(coefficient)
        return row


@dataclass(frozen=True, eq=False)
class RationalBox:
    """lower <= X <= upper, element by element; none is empty."""

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]

    @cached_property
    def outward(self) -> tuple[Floats, Floats]:
        """The smallest float64 box that holds it, flat."""
        lower = np.array([float(v) for v in self.lower])
        upper = np.array([float(v) for v in self.upper])
        for i, value in enumerate(self.lower):
            if Fraction(lower[i]) > value:
                lower[i] = np.nextafter(lower[i], -np.inf)
        for i, value in enumerate(self.upper):
            if Fraction(upper[i]) < value:
                upper[i] = np.nextafter(upper[i], np.inf)
        return lower, upper

    def inward(self, dtype: np.dtype[np.floating]) -> tuple[Floats, Floats]:
        """Bounds between which numbers of `dtype` lie inside.

        Where no number of `dtype` does, both ends are the float64 number nearest to the lower
        bound: its shortest decimal text is the bound wherever the file wrote it so.
        """
        low, high = dtype.type(-np.inf), dtype.type(np.inf)
        lower = np.array([float(v) for v in self.lower]).astype(dtype)
        upper = np.array([float(v) for v in self.upper]).astype(dtype)
        for i, value in enumerate(self.lower):
            if Fraction(float(lower[i])) < value:
                lower[i] = np.nextafter(lower[i], high)
        for i, value in enumerate(self.upper):
            if Fraction(float(upper[i])) > value:
                upper[i] = np.nextafter(upper[i], low)
        wide_lower, wide_upper = lower.astype(np.float64), upper.astype(np.float64)
        for k in np.flatnonzero(lower > upper):
            wide_lower[k] = wide_upper[k] = float(self.lower[k])
        return wide_lower, wide_upper

    def contains(self, x: Floats) -> bool:
        """Decide if the point (flat), written as the shortest decimals, lies inside exactly."""
        return all(
            low <= Fraction(repr(float(v))) <= high
            for low, v, high in zip(self.lower, x, self.upper, strict=True)
        )


@dataclass(frozen=True, eq=False)
class Disjunct:
    """One box, and the unsafe outputs over it.

    Attributes
    ----------
    polytopes
        The union of these conjunctions; an empty conjunction holds everywhere.
    """

    box: RationalBox
    polytopes: tuple[tuple[Constraint, ...], ...]

    def violated_by(self, outputs: NDArray[np.floating]) -> bool:
        """Decide if flat outputs lie in the unsafe set."""
        return any(all(c.holds(outputs) for c in polytope) for polytope in self.polytopes)


@dataclass(frozen=True, eq=False)
class Property:
    """Is there an x in some region's box with an unsafe output? (sat: yes)

    Attributes
    ----------
    inputs, outputs
        Numbers of X and of Y, in row-major order of the network's tensors.
    regions
        Without any, nothing satisfies the property.
    """

    inputs: int
    outputs: int
    regions: tuple[Disjunct, ...]
