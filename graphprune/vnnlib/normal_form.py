"""Disjunctive normal form: assertions as boxes with polytopes of outputs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product

from graphprune.errors import GraphpruneError
from graphprune.vnnlib.ends import End, order
from graphprune.vnnlib.formulas import Bound, Formula
from graphprune.vnnlib.property import Constraint, Disjunct, RationalBox

# More conjunctions than this are refused: those of one disjunction, and those of a product of
# several, which grow exponentially.
MOST_LISTED, MOST_CASES = 2_000_000, 20_000

Atom = Bound | Constraint
Conjunction = tuple[Atom, ...]
Polytope = tuple[Constraint, ...]
# An end of an input, and whether the input may not be there.
Side = tuple[End, bool]


@dataclass
class _Bounds:
    """The tightest ends of inputs met so far."""

    lower: dict[int, Side] = field(default_factory=dict)
    upper: dict[int, Side] = field(default_factory=dict)

    def add(self, bound: Bound) -> None:
        sides = self.upper if bound.upper else self.lower
        new = bound.end, bound.strict
        known = sides.get(bound.element)
        if known is None or _tighter(new, known, upper=bound.upper):
            sides[bound.element] = new


def _tighter(new: Side, known: Side, *, upper: bool) -> bool:
    sign = order(new[0], known[0])
    return (sign < 0 if upper else sign > 0) or (sign == 0 and new[1] and not known[1])


def normal_form(
    assertions: Sequence[Formula], inputs: int, name: Callable[[int], str] = "X_{}".format
) -> tuple[Disjunct, ...]:
    """The conjunction of `assertions` as regions, those with the same box together.

    Parameters
    ----------
    name
        The name of an input in messages.

    Raises
    ------
    GraphpruneError
        An input without a lower or upper bound; too many conjunctions.
    """
    bounds, shared = _Bounds(), list[Constraint]()
    choices: list[list[Conjunction]] = []
    for assertion in assertions:
        cases = _cases(assertion)
        if len(cases) == 1:
            shared += _collect(cases[0], bounds)
        else:
            choices.append(cases)
    _check_count([len(cases) for cases in choices])
    boxes = _Boxes(bounds, inputs, name)
    regions: list[tuple[RationalBox, list[Polytope]]] = []
    # Number of the region of a box, -1 where it is empty.
    known: dict[object, int] = {}
    for case in _product(choices):
        narrowed = _Bounds()
        extra = _collect(case, narrowed)
        key = (*narrowed.lower.items(), None, *narrowed.upper.items())
        number = known.get(key)
        if number is None:
            box = boxes.within(narrowed)
            number = known[key] = -1 if box is None else len(regions)
            if box is not None:
                regions.append((box, []))
        if number >= 0:
            regions[number][1].append((*shared, *extra))
    return tuple(Disjunct(box, _distinct(polytopes)) for box, polytopes in regions)


def _product(choices: Sequence[Sequence[Conjunction]]) -> Iterable[Conjunction]:
    """Every conjunction of one case of each choice."""
    if len(choices) == 1:
        return choices[0]
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
    if isinstance(formula, (Bound, Constraint)):
        return [(formula,)]
    if not formula.is_or and all(isinstance(p, (Bound, Constraint)) for p in formula.parts):
        return [tuple(p for p in formula.parts if isinstance(p, (Bound, Constraint)))]
    parts = [_cases(part) for part in formula.parts]
    if formula.is_or:
        _check_count([sum(len(part) for part in parts)])
        return [case for part in parts for case in part]
    _check_count([len(part) for part in parts])
    return [tuple(atom for part in case for atom in part) for case in product(*parts)]


def _collect(atoms: Iterable[Atom], bounds: _Bounds) -> list[Constraint]:
    """The constraints among atoms; bounds of inputs go into `bounds`."""
    constraints = []
    for atom in atoms:
        if isinstance(atom, Bound):
            bounds.add(atom)
        else:
            constraints.append(atom)
    return constraints


class _Boxes:
    """Makes the boxes of cases, which differ from a common one in few inputs."""

    def __init__(self, common: _Bounds, inputs: int, name: Callable[[int], str]) -> None:
        self.common = common
        self.name = name
        self.lower = [common.lower[i][0] if i in common.lower else "0" for i in range(inputs)]
        self.upper = [common.upper[i][0] if i in common.upper else "0" for i in range(inputs)]
        self.above = frozenset(i for i, (_, strict) in common.lower.items() if strict)
        self.below = frozenset(i for i, (_, strict) in common.upper.items() if strict)
        self.missing = [
            (i, word, of)
            for i in range(inputs)
            for word, of in (("lower", 0), ("upper", 1))
            if i not in (common.lower, common.upper)[of]
        ]
        both = set(common.lower) & set(common.upper)
        self.empty = any(_empty(common.lower[i], common.upper[i]) for i in both)

    def within(self, narrowed: _Bounds) -> RationalBox | None:
        """The box of a case, or None where it is empty."""
        for i, word, of in self.missing:
            if i not in (narrowed.lower, narrowed.upper)[of]:
                raise GraphpruneError(
                    f"input {self.name(i)} has no {word} bound; every input needs a box"
                )
        if self.empty:
            return None
        lower, above = _met(self.lower, self.above, self.common.lower, narrowed.lower, upper=False)
        upper, below = _met(self.upper, self.below, self.common.upper, narrowed.upper, upper=True)
        for i in (*narrowed.lower, *narrowed.upper):
            sign = order(lower[i], upper[i])
            if sign > 0 or (sign == 0 and (i in above or i in below)):
                return None
        return RationalBox(tuple(lower), tuple(upper), above, below)


def _met(
    ends: list[End], strict: frozenset[int], common: dict[int, Side], narrowed: dict[int, Side],
    *, upper: bool,
) -> tuple[list[End], frozenset[int]]:  # fmt: skip
    """Ends on one side, and which of them are strict, with a case's own ends met."""
    met = ends.copy()
    for i, side in narrowed.items():
        known = common.get(i)
        if known is None or _tighter(side, known, upper=upper):
            met[i] = side[0]
            if side[1]:
                strict = strict | {i}
            elif i in strict:
                strict = strict - {i}
    return met, strict


def _empty(lower: Side, upper: Side) -> bool:
    sign = order(lower[0], upper[0])
    return sign > 0 or (sign == 0 and (lower[1] or upper[1]))
