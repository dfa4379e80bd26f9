"""Reading VNN-LIB (https://www.vnnlib.org), versions 1.0 and 2.0, by a strict reader.

    (declare-const X_0 Real)  (declare-fun Y_0 () Real)                                     1.0
    (vnnlib-version <2.0>)
    (declare-network N (declare-input X Real [2,3]) (declare-output Y Real [] "name"))      2.0
    (assert F)      F: (<= T T), <, >=, >, =, ==, !=, (and F ...), (or F ...), (not F), (=> F F)
                    T: number, variable, (+ T ...), (- T ...), (* T T) with a constant factor

Numbers are kept exactly. Files may be long: constraints ``(op variable number)`` are one token
each, and everything is evaluated as its parenthesis closes, without a tree of the whole.
"""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple, cast

from graphprune.errors import GraphpruneError
from graphprune.vnnlib.declarations import DeclarationError, Declarations
from graphprune.vnnlib.formulas import (
    FORMULAS,
    LARGEST_EXPONENT,
    Bound,
    Formula,
    Junction,
    LinearTerm,
    NumberError,
    Variable,
    compared,
    negated,
)
from graphprune.vnnlib.normal_form import normal_form
from graphprune.vnnlib.property import Constraint, Property
from graphprune.vnnlib.tokens import DECLARED, PARENTHESIS, SIMPLE, line_of, tokens

# Limits against files that are not properties: nesting, digits of a number.
DEEPEST = 200
LONGEST_NUMBER = 400

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+))?")
_COMMANDS = {"declare-const", "declare-fun", "declare-network", "assert"}
_IGNORED = {
    "set-logic", "set-info", "set-option", "check-sat", "get-model", "exit", "vnnlib-version",
}  # fmt: skip
_COMPARISONS = ("<=", ">=", "<", ">", "=", "==", "!=")


class PropertyError(GraphpruneError):
    """The property file cannot be read, or says something outside the supported language."""


class _Word(NamedTuple):
    """A word, and its position in the text."""

    text: str
    place: int


class _Group(NamedTuple):
    """A parenthesised list that is neither a formula nor a term."""

    items: "tuple[_Node, ...]"
    place: int

    @property
    def head(self) -> str:
        first = self.items[0] if self.items else None
        return first.text if isinstance(first, _Word) else ""


_Node = _Word | _Group | Formula | LinearTerm


def parse_property(text: str, label: str = "property") -> Property:
    """The property a VNN-LIB text states, in normal form.

    Parameters
    ----------
    label
        Name of the text in messages.

    Raises
    ------
    PropertyError
        Naming the line and the cause.
    """
    reader = _Reader(text, label)
    with _without_collector():
        reader.read()
        return _property(reader, label)


def _property(reader: "_Reader", label: str) -> Property:
    declared = reader.declared
    try:
        inputs, outputs = (declared.count(is_input=kind) for kind in (True, False))
        for count, kind in ((inputs, "X"), (outputs, "Y")):
            if not count:
                named = "element of an output" if declared.network else f"variable {kind}_0"
                named = named.replace("output", "input") if kind == "X" else named
                raise PropertyError(f"declares no {named}")
        regions = normal_form(reader.assertions, inputs, declared.input_name)
    except (GraphpruneError, DeclarationError) as error:
        raise PropertyError(f"{label}: {error}") from None
    names = (declared.onnx_names(is_input=kind) for kind in (True, False))
    return Property(inputs, outputs, regions, *names)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Leave cyclic garbage for a while: there is none, and looking through millions of parts for it
    takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Reader:
    """Declarations and assertions as they come."""

    def __init__(self, text: str, label: str) -> None:
        self.text = text
        self.label = label
        self.declared = Declarations()
        self.assertions: list[Formula] = []
        self._constraints: dict[tuple[str, Variable, str], Formula] = {}

    def error(self, place: int, message: str) -> PropertyError:
        return PropertyError(f"{self.label}: line {line_of(self.text, place)}: {message}")

    def read(self) -> None:
        """Go through the text; no recursion, so nesting is a limit and not a crash."""
        stack: list[tuple[list[_Node], int]] = []
        known = self.declared.known
        end = 0
        for match in tokens(self.text):
            if match.start() != end:
                break
            end = match.end()
            kind = match.lastgroup
            if kind is None:
                continue
            if kind == SIMPLE:
                within, operator, name, number = match.group(1, 2, 3, 4)
                variable = known.get(name) or self._resolved(name, match.start(3))
                if variable[0] and operator[0] != "=":
                    formula: Formula = Bound(
                        variable[1], operator[0] == "<", number, len(operator) == 1
                    )
                else:
                    formula = self._simple(operator, variable, number)
                if within is None:
                    self._inside(stack, match.start(), "(")[0].append(formula)
                elif stack:
                    raise self.error(match.start(), "an assert inside of a list")
                else:
                    self.assertions.append(formula)
            elif kind == DECLARED:
                if stack:
                    raise self.error(match.start(), "a declaration inside of a list")
                self._scalar(match["declared"], match.start())
            elif kind != PARENTHESIS:
                word = _Word(match["word"], match.start())
                self._inside(stack, word.place, word.text)[0].append(word)
            elif match["parenthesis"] == "(":
                if len(stack) >= DEEPEST:
                    raise self.error(match.start(), f"nested deeper than {DEEPEST} levels")
                stack.append(([], match.start()))
            else:
                self._close(stack, match.start())
        if end != len(self.text):
            raise self.error(end, f"cannot read '{self.text[end : end + 40].split()[0]}'")
        if stack:
            raise self.error(stack[-1][1], "this '(' is never closed")

    def _inside(
        self, stack: list[tuple[list[_Node], int]], place: int, found: str
    ) -> tuple[list[_Node], int]:
        if not stack:
            if found == "(":
                raise self.error(place, "a constraint outside of an assert")
            raise self.error(place, f"expected '(', found '{found[:40]}'")
        return stack[-1]

    def _close(self, stack: list[tuple[list[_Node], int]], place: int) -> None:
        if not stack:
            raise self.error(place, "')' without '('")
        items, start = stack.pop()
        head = items[0].text if items and isinstance(items[0], _Word) else ""
        if stack:
            stack[-1][0].append(self._evaluated(head, items, start))
        else:
            self._command(head, items, start)

    def _evaluated(self, head: str, items: list[_Node], place: int) -> _Node:
        """A closed list as a formula or term where it is one."""
        if head in ("and", "or"):
            if len(items) < 2:
                raise self.error(place, f"empty '{head}'")
            parts = items[1:]
            if not FORMULAS.issuperset(map(type, parts)):
                parts = [self._formula(item, place) for item in parts]
            return Junction(head == "or", cast("tuple[Formula, ...]", tuple(parts)))
        if head in ("not", "=>"):
            count = 1 if head == "not" else 2
            if len(items) != count + 1:
                raise self.error(place, f"'{head}' takes {count} formula{'s'[: count - 1]}")
            first, *others = [self._formula(item, place) for item in items[1:]]
            return Junction(True, (negated(first), *others)) if others else negated(first)
        if head in _COMPARISONS:
            if len(items) != 3:
                raise self.error(place, f"'{head}' compares two terms")
            try:
                return compared(head, *(self._term(item, place) for item in items[1:]))
            except NumberError as error:
                raise self.error(place, str(error)) from None
        if head in ("+", "-", "*"):
            return self._sum(head, [self._term(item, place) for item in items[1:]], place)
        return _Group(tuple(items), place)

    def _command(self, head: str, items: list[_Node], place: int) -> None:
        if head == "assert":
            if len(items) != 2:
                raise self.error(place, "assert takes one formula")
            self.assertions.append(self._formula(items[1], place))
        elif head in ("declare-const", "declare-fun"):
            self._declare(head, items, place)
        elif head == "declare-network":
            self._network(items, place)
        elif head not in _IGNORED:
            raise self.error(
                place, f"unknown command '{head[:40]}'; known: {', '.join(sorted(_COMMANDS))}"
            )

    def _declare(self, head: str, items: list[_Node], place: int) -> None:
        if head == "declare-fun" and len(items) == 4 and items[2] == _Group((), _place(items[2])):
            items = [*items[:2], items[3]]
        words = [item.text if isinstance(item, _Word) else "" for item in items]
        if len(words) != 3 or words[2] != "Real":
            raise self.error(place, f"expected ({head} X_i Real) or Y_i")
        self._scalar(words[1], place)

    def _scalar(self, name: str, place: int) -> None:
        try:
            self.declared.scalar(name)
        except DeclarationError as error:
            raise self.error(place, str(error)) from None

    def _network(self, items: list[_Node], place: int) -> None:
        """``(declare-network N (declare-input X Real [2]) (declare-output Y Real [2]))``."""
        words = [item.text for item in items if isinstance(item, _Word)]
        if len(words) != 2:
            raise self.error(place, "declare-network takes a name and declarations of tensors")
        try:
            self.declared.begin(words[1])
        except DeclarationError as error:
            raise self.error(place, str(error)) from None
        for item in items[2:]:
            if not isinstance(item, _Group):
                raise self.error(place, "declare-network takes a name and declarations of tensors")
            self._tensor(item)

    def _tensor(self, group: _Group) -> None:
        words = [item.text if isinstance(item, _Word) else "" for item in group.items]
        name = words[1] if len(words) > 1 else ""
        if group.head == "declare-hidden":
            raise self.error(
                group.place,
                f"the hidden node '{name}': properties of inputs and outputs are decided",
            )
        if group.head in ("equal-to", "isomorphic-to"):
            raise self.error(
                group.place,
                f"({group.head} {name}) speaks of another network: properties of one are decided",
            )
        if group.head not in ("declare-input", "declare-output") or len(words) not in (3, 4):
            raise self.error(group.place, 'expected (declare-input NAME TYPE [SHAPE] "name")')
        onnx_name = words[3] if len(words) == 4 else None
        if onnx_name is not None and not (onnx_name[:1] == onnx_name[-1:] == '"'):
            raise self.error(group.place, f"{name} is declared with '{onnx_name}': not supported")
        try:
            self.declared.tensor(
                name, words[2], None if onnx_name is None else onnx_name[1:-1],
                is_input=group.head == "declare-input",
            )  # fmt: skip
        except DeclarationError as error:
            raise self.error(group.place, str(error)) from None

    def _resolved(self, name: str, place: int) -> Variable:
        try:
            return self.declared.resolve(name)
        except DeclarationError as error:
            raise self.error(place, str(error)) from None

    def _simple(self, operator: str, variable: Variable, number: str) -> Formula:
        """``(op variable number)``; equal ones are one object."""
        key = operator, variable, number
        known = self._constraints.get(key)
        if known is None:
            term = LinearTerm({variable: Fraction(1)}, Fraction())
            known = compared(operator, term, LinearTerm({}, Fraction(number)))
            self._constraints[key] = known
        return known

    def _formula(self, node: _Node, place: int) -> Formula:
        if isinstance(node, (Bound, Constraint, Junction)):
            return node
        if isinstance(node, _Word):
            if node.text in ("true", "false"):
                return Junction(node.text == "false", ())
            raise self.error(node.place, f"expected a formula, found '{node.text[:40]}'")
        if isinstance(node, _Group):
            known = ", ".join(("and", "or", "not", "=>", *_COMPARISONS))
            raise self.error(node.place, f"unknown formula '{node.head[:40]}'; known: {known}")
        raise self.error(place, "expected a formula, found a term")

    def _term(self, node: _Node, place: int) -> LinearTerm:
        if isinstance(node, LinearTerm):
            return node
        if isinstance(node, _Word):
            return self._leaf(node)
        if isinstance(node, _Group):
            raise self.error(
                node.place, f"unknown term '{node.head[:40]}'; known: numbers, variables, +, -, *"
            )
        raise self.error(place, "expected a term, found a formula")

    def _sum(self, head: str, parts: list[LinearTerm], place: int) -> LinearTerm:
        if not parts:
            raise self.error(place, f"'{head}' without operands")
        total = parts[0]
        if head == "-" and len(parts) == 1:
            return total.scaled(Fraction(-1))
        for part in parts[1:]:
            if head != "*":
                total = total.plus(part.scaled(Fraction(1 if head == "+" else -1)))
            elif not part.terms:
                total = total.scaled(part.constant)
            elif not total.terms:
                total = part.scaled(total.constant)
            else:
                raise self.error(place, "a product of two variables is not linear")
            for value in (total.constant, *total.terms.values()):
                if max(value.numerator.bit_length(), value.denominator.bit_length()) > 8192:
                    raise self.error(place, "the numbers of this term are too long")
        return total

    def _leaf(self, word: _Word) -> LinearTerm:
        text = word.text
        number = _NUMBER.fullmatch(text) if len(text) <= LONGEST_NUMBER else None
        if number is None:
            return LinearTerm({self._resolved(text, word.place): Fraction(1)}, Fraction())
        if number[1] and abs(int(number[1])) > LARGEST_EXPONENT:
            raise self.error(word.place, f"the number '{text[:40]}' is out of range")
        value = Fraction(text)
        if abs(value) > Fraction(10) ** LARGEST_EXPONENT:
            raise self.error(word.place, f"the number '{text[:40]}' is out of range")
        return LinearTerm({}, value)


def _place(node: _Node) -> int:
    return node.place if isinstance(node, _Group) else -1
