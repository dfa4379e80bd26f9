"""Disjunctive normal form: assertions as boxes with polytopes of outputs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from operator import ge
from typing import TypeVar, cast

from graphprune.errors import GraphpruneError
from graphprune.vnnlib.ends import End, order
from graphprune.vnnlib.formulas import ATOMS, Bound, Formula, Junction
from graphprune.vnnlib.property import Constraint, Disjunct, RationalBox

# More conjunctions than this are refused: those of one disjunction, and those of a product of
# several, which grow exponentially.
MOST_LISTED, MOST_CASES = 2_000_000, 20_000

T = TypeVar("T")
Atom = Bound | Constraint
Conjunction = tuple[Atom, ...]
Polytope = tuple[Constraint, ...]


def normal_form(
    assertions: list[Formula], inputs: int, name: Callable[[int], str] = "X_{}".format
) -> tuple[Disjunct, ...]:
    """The conjunction of `assertions` as regions, those with the same box together.

    Parameters
    ----------
    assertions
        Emptied on the way: there may be no room for both forms of a long file.
    name
        The name of an input in messages.

    Raises
    ------
    GraphpruneError
        An input without a lower or upper bound; too many conjunctions.
    """
    common: list[Atom] = []
    choices: list[list[Conjunction]] = []
    for assertion in _drained(assertions):
        if not isinstance(assertion, Junction):
            common.append(assertion)
            continue
        cases = _cases(assertion)
        if len(cases) == 1:
            common.extend(cases[0])
        else:
            choices.append(cases)
    _check_count([len(cases) for cases in choices])
    sides, shared = _Sides(inputs).narrowed(common)
    whole: RationalBox | None = None
    regions: list[tuple[RationalBox, list[Polytope]]] = []
    # The last region with these lower ends.
    known: dict[tuple[End, ...], int] = {}
    for case in _product(choices):
        narrowed, extra = sides.narrowed(case)
        box = whole if narrowed is sides and whole is not None else narrowed.box(name)
        if narrowed is sides:
            whole = box
        if box is None:
            continue
        number = known.get(box.lower_ends)
        if number is None or not box.equals(regions[number][0]):
            number = known[box.lower_ends] = len(regions)
            regions.append((box, []))
        regions[number][1].append((*shared, *extra))
    return tuple(Disjunct(box, _distinct(polytopes)) for box, polytopes in _drained(regions))


def _drained(items: list[T]) -> Iterator[T]:
    """The items of a list, which is empty in the end."""
    items.reverse()
    while items:
        yield items.pop()


def _product(choices: list[list[Conjunction]]) -> Iterable[Conjunction]:
    """Every conjunction of one case of each choice."""
    if len(choices) == 1:
        return _drained(choices[0])
    return (tuple(atom for part in case for atom in part) for case in product(*choices))


def _distinct(polytopes: list[Polytope]) -> tuple[Polytope, ...]:
    """Polytopes, and the constraints of each, without repetitions."""
    each = [p if len(p) < 2 else tuple(dict.fromkeys(p)) for p in polytopes]
    return tuple(each) if len(each) == 1 else tuple(dict.fromkeys(each))


def _check_count(counts: Sequence[int]) -> None:
    total = 1
    several = sum(count > 1 for count in counts) > 1
    most = MOST_CASES if several else MOST_LISTED
    for count in counts:
        total *= count
        if total > most:
            raise GraphpruneError(
                f"the assertions have more than {most} cases in disjunctive normal form"
            )


def _cases(formula: Formula) -> list[Conjunction]:
    if not isinstance(formula, Junction):
        return [(formula,)]
    if not formula.is_or and ATOMS.issuperset(map(type, formula.parts)):
        return [cast(Conjunction, formula.parts)]
    parts = [_cases(part) for part in formula.parts]
    if formula.is_or:
        _check_count([sum(len(part) for part in parts)])
        return [case for part in parts for case in part]
    _check_count([len(part) for part in parts])
    return [tuple(atom for part in case for atom in part) for case in product(*parts)]


class _Sides:
    """Ends of inputs, None where none is known, and which of them are strict."""

    def __init__(self, inputs: int) -> None:
        self.lower: list[End | None] = [None] * inputs
        self.upper: list[End | None] = [None] * inputs
        self.above: frozenset[int] = frozenset()
        self.below: frozenset[int] = frozenset()

    def narrowed(self, atoms: Iterable[Atom]) -> "tuple[_Sides, list[Constraint]]":
        """These ends met with the bounds among atoms (itself without any), and the constraints."""
        constraints: list[Constraint] = []
        made: _Sides | None = None
        for atom in atoms:
            if isinstance(atom, Constraint):
                constraints.append(atom)
                continue
            if made is None:
                made = _Sides(0)
                made.lower, made.upper = self.lower.copy(), self.upper.copy()
                made.above, made.below = self.above, self.below
            element, upper, end, strict = atom
            ends = made.upper if upper else made.lower
            if ends[element] is None and not strict:
                ends[element] = end
            else:
                made._meet(atom)
        return made or self, constraints

    def _meet(self, bound: Bound) -> None:
        i, upper, end, strict = bound
        ends, opened = (self.upper, self.below) if upper else (self.lower, self.above)
        known = ends[i]
        sign = 1 if known is None else order(known, end) if upper else order(end, known)
        if sign < 0 or (sign == 0 and not strict):
            return
        ends[i] = end
        changed = opened | {i} if strict else opened - {i}
        if upper:
            self.below = changed
        else:
            self.above = changed

    def box(self, name: Callable[[int], str]) -> RationalBox | None:
        """The box between the ends, or None where it is empty.

        Raises
        ------
        GraphpruneError
            An end is missing.
        """
        if None in self.lower or None in self.upper:
            i = min(ends.index(None) for ends in (self.lower, self.upper) if None in ends)
            word = "lower" if self.lower[i] is None else "upper"
            raise GraphpruneError(f"input {name(i)} has no {word} bound; every input needs a box")
        lower, upper = (cast("list[End]", ends) for ends in (self.lower, self.upper))
        # Floats are the nearest ones: only where they do not tell need the ends be compared.
        if any(map(ge, map(float, lower), map(float, upper))):
            for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
                sign = order(low, high)
                if sign > 0 or (sign == 0 and (i in self.above or i in self.below)):
                    return None
        return RationalBox(tuple(lower), tuple(upper), self.above, self.below)
