"""Disjunctive normal form: assertions as boxes with polytopes of outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

from graphprune.errors import GraphpruneError
from graphprune.vnnlib.property import Constraint, Disjunct, RationalBox

# More conjunctions than this are refused: products of disjunctions grow exponentially.
MOST_CASES = 20_000


@dataclass(frozen=True)
class Atom:
    """sum of coefficient * variable <= limit, over one input or over outputs (or over none)."""

    is_input: bool
    terms: tuple[tuple[int, Fraction], ...]
    limit: Fraction
    line: int


@dataclass(frozen=True)
class Junction:
    """A conjunction or a disjunction."""

    is_or: bool
    parts: "tuple[Formula, ...]"


Formula = Atom | Junction
Conjunction = tuple[Atom, ...]
Interval = tuple[Fraction | None, Fraction | None]


def normal_form(assertions: Sequence[Formula], inputs: int) -> tuple[Disjunct, ...]:
    """The conjunction of `assertions` as regions, those with the same box together.

    Raises
    ------
    GraphpruneError
        An input without a lower or upper bound; too many conjunctions.
    """
    common: list[Atom] = []
    choices: list[list[Conjunction]] = []
    for assertion in assertions:
        cases = _cases(assertion)
        if len(cases) == 1:
            common += cases[0]
        else:
            choices.append(cases)
    _check_count([len(cases) for cases in choices])
    bounds: dict[int, Interval] = {}
    shared = _collect(common, bounds)
    if shared is None:
        return ()
    grouped: dict[tuple[tuple[int, Interval], ...], list[tuple[Constraint, ...]]] = {}
    for case in product(*choices):
        narrowed: dict[int, Interval] = {}
        extra = _collect([atom for part in case for atom in part], narrowed)
        if extra is not None:
            polytope = tuple(dict.fromkeys([*shared, *extra]))
            grouped.setdefault(tuple(sorted(narrowed.items())), []).append(polytope)
    regions = []
    for key, polytopes in grouped.items():
        box = _box(bounds, dict(key), inputs)
        if box is not None:
            regions.append(Disjunct(box, tuple(dict.fromkeys(polytopes))))
    return tuple(regions)


def _check_count(counts: Sequence[int]) -> None:
    total = 1
    for count in counts:
        total *= count
        if total > MOST_CASES:
            raise GraphpruneError(
                f"the assertions have more than {MOST_CASES} cases in disjunctive normal form"
            )


def _cases(formula: Formula) -> list[Conjunction]:
    if isinstance(formula, Atom):
        return [(formula,)]
    parts = [_cases(part) for part in formula.parts]
    if formula.is_or:
        _check_count([sum(len(part) for part in parts)])
        return [case for part in parts for case in part]
    _check_count([len(part) for part in parts])
    return [tuple(atom for part in case for atom in part) for case in product(*parts)]


def _collect(atoms: Sequence[Atom], bounds: dict[int, Interval]) -> tuple[Constraint, ...] | None:
    """Constraints on outputs; bounds of inputs go into `bounds`. None: contradictory."""
    constraints = []
    for atom in atoms:
        if atom.is_input:
            ((index, coefficient),) = atom.terms
            end = atom.limit / coefficient
            sides = (None, end) if coefficient > 0 else (end, None)
            bounds[index] = _meet(bounds.get(index, (None, None)), sides)
        elif atom.terms:
            constraints.append(Constraint(atom.terms, atom.limit))
        elif atom.limit < 0:
            return None
    return tuple(constraints)


def _meet(a: Interval, b: Interval) -> Interval:
    lower = [v for v in (a[0], b[0]) if v is not None]
    upper = [v for v in (a[1], b[1]) if v is not None]
    return (max(lower) if lower else None, min(upper) if upper else None)


def _box(
    bounds: dict[int, Interval], narrowed: dict[int, Interval], inputs: int
) -> RationalBox | None:
    """The box of a case, or None where it is empty."""
    lower, upper = [], []
    empty = False
    for i in range(inputs):
        low, high = bounds.get(i, (None, None))
        if i in narrowed:
            low, high = _meet((low, high), narrowed[i])
        if low is None or high is None:
            side = "lower" if low is None else "upper"
            raise GraphpruneError(f"input X_{i} has no {side} bound; every input needs a box")
        empty |= low > high
        lower.append(low)
        upper.append(high)
    return None if empty else RationalBox(tuple(lower), tuple(upper))
