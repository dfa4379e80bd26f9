"""A VNN-LIB file in normal form and in exact rational numbers."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune.vnnlib.ends import End, compare, fraction, order

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Constraint:
    """sum of coefficient * Y_j + sum of coefficient * X_i <= limit, or < limit.

    Attributes
    ----------
    terms
        (j, coefficient), j increasing, coefficients not 0.
    limit
        The right side.
    strict
        The sum must be below the limit. What is proven of `<=` holds of `<` too.
    inputs
        (i, coefficient) of inputs, i increasing, coefficients not 0.
    """

    terms: tuple[tuple[int, Fraction], ...]
    limit: Fraction
    strict: bool = False
    inputs: tuple[tuple[int, Fraction], ...] = ()

    def holds(self, outputs: NDArray[np.floating], x: Floats | None = None) -> bool:
        """Decide in exact arithmetic if flat outputs, and the flat input, satisfy it.

        An input's number is the shortest decimal that is read as it.
        """
        if not all(np.isfinite(outputs[j]) for j, _ in self.terms):
            return False
        total = sum((c * Fraction(float(outputs[j])) for j, c in self.terms), Fraction())
        for i, c in self.inputs:
            if x is None:
                raise ValueError("a constraint on inputs needs the input")
            total += c * Fraction(repr(float(x[i])))
        return total < self.limit if self.strict else total <= self.limit

    @property
    def compares(self) -> bool:
        """True where it is about the order of two outputs, which a common function keeps."""
        return (
            len(self.terms) == 2
            and self.limit == 0
            and self.terms[0][1] == -self.terms[1][1]
            and not self.inputs
        )

    def negated(self) -> "Constraint":
        """The constraint that holds exactly where this one does not."""
        terms = tuple((j, -c) for j, c in self.terms)
        inputs = tuple((i, -c) for i, c in self.inputs)
        return Constraint(terms, -self.limit, not self.strict, inputs)


@dataclass(frozen=True, eq=False, slots=True)
class RationalBox:
    """lower <= X <= upper, element by element; none is empty.

    Attributes
    ----------
    lower_ends, upper_ends
        The ends as they were written, or computed.
    above, below
        Inputs that must be above their lower end, and below their upper end.
    """

    lower_ends: tuple[End, ...]
    upper_ends: tuple[End, ...]
    above: frozenset[int] = field(default=frozenset())
    below: frozenset[int] = field(default=frozenset())

    def equals(self, other: "RationalBox") -> bool:
        """True where both have the same ends, written the same way."""
        ends, others = (
            (box.lower_ends, box.upper_ends, box.above, box.below) for box in (self, other)
        )
        return ends == others

    @property
    def lower(self) -> tuple[Fraction, ...]:
        return tuple(map(fraction, self.lower_ends))

    @property
    def upper(self) -> tuple[Fraction, ...]:
        return tuple(map(fraction, self.upper_ends))

    @property
    def outward(self) -> tuple[Floats, Floats]:
        """The smallest float64 box that holds it, flat."""
        lower = np.array([float(v) for v in self.lower_ends])
        upper = np.array([float(v) for v in self.upper_ends])
        for i, end in enumerate(self.lower_ends):
            if compare(lower[i], end) > 0:
                lower[i] = np.nextafter(lower[i], -np.inf)
        for i, end in enumerate(self.upper_ends):
            if compare(upper[i], end) < 0:
                upper[i] = np.nextafter(upper[i], np.inf)
        return lower, upper

    def inward(self, dtype: np.dtype[np.floating]) -> tuple[Floats, Floats]:
        """Bounds between which numbers of `dtype` lie inside.

        Where no number of `dtype` does, both ends are the float64 number nearest to the lower
        bound: its shortest decimal text is the bound wherever the file wrote it so.
        """
        low, high = dtype.type(-np.inf), dtype.type(np.inf)
        lower = np.array([float(v) for v in self.lower_ends]).astype(dtype)
        upper = np.array([float(v) for v in self.upper_ends]).astype(dtype)
        for i, end in enumerate(self.lower_ends):
            if compare(float(lower[i]), end) < (i in self.above):
                lower[i] = np.nextafter(lower[i], high)
        for i, end in enumerate(self.upper_ends):
            if compare(float(upper[i]), end) > -(i in self.below):
                upper[i] = np.nextafter(upper[i], low)
        wide_lower, wide_upper = lower.astype(np.float64), upper.astype(np.float64)
        for k in np.flatnonzero(lower > upper):
            wide_lower[k] = wide_upper[k] = self._between(int(k))
        return wide_lower, wide_upper

    def _between(self, k: int) -> float:
        """A number between two ends of which no number of the model's own type lies between."""
        if k in self.above or k in self.below:
            return float((fraction(self.lower_ends[k]) + fraction(self.upper_ends[k])) / 2)
        return float(self.lower_ends[k])

    def contains(self, x: Floats) -> bool:
        """Decide if the point (flat), written as the shortest decimals, lies inside exactly."""
        for i, (low, v, high) in enumerate(zip(self.lower_ends, x, self.upper_ends, strict=True)):
            written = repr(float(v))
            if order(low, written) > -(i in self.above) or order(written, high) > -(
                i in self.below
            ):
                return False
        return True


@dataclass(frozen=True, eq=False, slots=True)
class Disjunct:
    """One box, and the unsafe outputs over it.

    Attributes
    ----------
    polytopes
        The union of these conjunctions; an empty conjunction holds everywhere.
    """

    box: RationalBox
    polytopes: tuple[tuple[Constraint, ...], ...]

    def violated_by(self, outputs: NDArray[np.floating], x: Floats | None = None) -> bool:
        """Decide if flat outputs, at the flat input, lie in the unsafe set."""
        return any(all(c.holds(outputs, x) for c in polytope) for polytope in self.polytopes)


@dataclass(frozen=True, eq=False)
class Property:
    """Is there an x in some region's box with an unsafe output? (sat: yes)

    Attributes
    ----------
    inputs, outputs
        Numbers of X and of Y, in row-major order of the network's tensors.
    regions
        Without any, nothing satisfies the property.
    input_names, output_names
        Per tensor of VNN-LIB 2.0 its name in the ONNX file, or None where it has none.
    """

    inputs: int
    outputs: int
    regions: tuple[Disjunct, ...]
    input_names: tuple[str | None, ...] = ()
    output_names: tuple[str | None, ...] = ()

    @cached_property
    def relational(self) -> bool:
        """True where a constraint is about several inputs, or about inputs and outputs."""
        polytopes = {id(p): p for region in self.regions for p in region.polytopes}
        return any(c.inputs for polytope in polytopes.values() for c in polytope)
