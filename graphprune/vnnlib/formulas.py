"""Formulas of assertions: bounds of inputs and linear constraints, joined by and, or."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from graphprune.vnnlib.ends import End
from graphprune.vnnlib.property import Constraint

# Numbers of a formula are at most 10 to the power of this, coefficients at least of minus this:
# bounds are computed in float64.
LARGEST_EXPONENT = 300
_LARGEST = Fraction(10) ** LARGEST_EXPONENT
# (True for an input, index of the element).
Variable = tuple[bool, int]


class Bound(NamedTuple):
    """X_i <= end (`upper`) or X_i >= end, i being the `element`; `strict`: < or >."""

    element: int
    upper: bool
    end: End
    strict: bool


@dataclass(frozen=True, slots=True)
class Junction:
    """A conjunction or a disjunction; without parts the first is true and the second false."""

    is_or: bool
    parts: "tuple[Formula, ...]"


Formula = Bound | Constraint | Junction
FORMULAS = frozenset((Bound, Constraint, Junction))
ATOMS = frozenset((Bound, Constraint))


@dataclass(frozen=True)
class LinearTerm:
    """A linear term: coefficients by variable, and a constant."""

    terms: dict[Variable, Fraction]
    constant: Fraction

    def scaled(self, factor: Fraction) -> "LinearTerm":
        if not factor:
            return LinearTerm({}, Fraction())
        return LinearTerm({k: factor * v for k, v in self.terms.items()}, factor * self.constant)

    def plus(self, other: "LinearTerm") -> "LinearTerm":
        terms = dict(self.terms)
        for key, value in other.terms.items():
            terms[key] = terms.get(key, Fraction()) + value
        return LinearTerm({k: v for k, v in terms.items() if v}, self.constant + other.constant)


class NumberError(ValueError):
    """A formula has numbers that are out of range."""


def _check_range(limit: Fraction, coefficients: Iterable[Fraction] = ()) -> None:
    sizes = [abs(c) for c in coefficients]
    if max([abs(limit), *sizes]) > _LARGEST or any(size * _LARGEST < 1 for size in sizes):
        raise NumberError(f"numbers beyond 1e{LARGEST_EXPONENT}, or coefficients below its inverse")


def at_most(left: LinearTerm, right: LinearTerm, *, strict: bool) -> Formula:
    """left <= right, or left < right.

    Raises
    ------
    NumberError
        A coefficient, or the end of a bound, is out of range.
    """
    both = left.plus(right.scaled(Fraction(-1)))
    inputs = tuple(sorted((i, c) for (is_input, i), c in both.terms.items() if is_input))
    outputs = tuple(sorted((j, c) for (is_input, j), c in both.terms.items() if not is_input))
    limit = -both.constant
    if len(inputs) == 1 and not outputs:
        ((index, coefficient),) = inputs
        _check_range(limit / coefficient)
        return Bound(index, coefficient > 0, limit / coefficient, strict)
    if not inputs and not outputs:
        return Junction(not (limit > 0 if strict else limit >= 0), ())
    _check_range(limit, both.terms.values())
    return Constraint(outputs, limit, strict, inputs)


def compared(operator: str, left: LinearTerm, right: LinearTerm) -> Formula:
    """A comparison by one of the operators `<=`, `<`, `>=`, `>`, `=`, `==` and `!=`."""
    match operator:
        case "<=" | "<":
            return at_most(left, right, strict=operator == "<")
        case ">=" | ">":
            return at_most(right, left, strict=operator == ">")
    unequal = operator == "!="
    sides = (at_most(left, right, strict=unequal), at_most(right, left, strict=unequal))
    return Junction(unequal, sides)


def negated(formula: Formula) -> Formula:
    """The formula that holds exactly where this one does not."""
    if isinstance(formula, Bound):
        return Bound(formula.element, not formula.upper, formula.end, not formula.strict)
    if isinstance(formula, Constraint):
        return formula.negated()
    return Junction(not formula.is_or, tuple(negated(part) for part in formula.parts))
