"""Reading VNN-LIB 1.0 (https://www.vnnlib.org): a strict reader of the subset that tools share.

    (declare-const X_0 Real)  (declare-fun Y_0 () Real)
    (assert F)      F: (<= T T), (>= T T), (and F ...), (or F ...)
                    T: number, variable, (+ T ...), (- T ...), (* T T) with a constant factor

Every constraint must be about one input, or about outputs only. Numbers are kept exactly.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from graphprune.errors import GraphpruneError
from graphprune.vnnlib.normal_form import Atom, Formula, Junction, normal_form
from graphprune.vnnlib.property import Property

# Limits against files that are not properties: bytes (unpacked), nesting, digits of a number.
LARGEST_FILE = 1 << 28
DEEPEST = 200
LONGEST_NUMBER = 400
LARGEST_EXPONENT = 300

_TOKEN = re.compile(r";[^\n]*|[()]|\|[^|]*\||[^\s();|]+|\n|[^\S\n]+|\|")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+))?")
_VARIABLE = re.compile(r"([XY])_(\d{1,9})")
_IGNORED = {"set-logic", "set-info", "set-option", "check-sat", "get-model", "exit"}


class PropertyError(GraphpruneError):
    """The property file cannot be read, or says something outside the supported language."""


@dataclass(frozen=True)
class Token:
    """A parenthesis or a word, and its line."""

    text: str
    line: int


@dataclass(frozen=True)
class Group:
    """A parenthesised list."""

    items: "tuple[Token | Group, ...]"
    line: int

    @property
    def head(self) -> str:
        first = self.items[0] if self.items else None
        return first.text if isinstance(first, Token) else ""


Node = Token | Group


@dataclass(frozen=True)
class _Linear:
    """A linear term: coefficients by (X or Y, index), and a constant."""

    terms: dict[tuple[str, int], Fraction]
    constant: Fraction

    def scaled(self, factor: Fraction) -> "_Linear":
        return _Linear({k: factor * v for k, v in self.terms.items()}, factor * self.constant)

    def plus(self, other: "_Linear") -> "_Linear":
        terms = dict(self.terms)
        for key, value in other.terms.items():
            terms[key] = terms.get(key, Fraction()) + value
        return _Linear({k: v for k, v in terms.items() if v}, self.constant + other.constant)


def read_property(path: str | Path) -> Property:
    """Read a ``.vnnlib`` file, compressed with gzip or not.

    Raises
    ------
    PropertyError
        Missing, unreadable or damaged file, or a text that `parse_property` refuses.
    """
    try:
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            unpacker = zlib.decompressobj(wbits=31)
            data = unpacker.decompress(data, LARGEST_FILE + 1)
            if not unpacker.eof and len(data) <= LARGEST_FILE:
                raise PropertyError(f"{path}: the compressed file is truncated")
    except FileNotFoundError:
        raise PropertyError(f"{path}: no such file") from None
    except OSError as error:
        raise PropertyError(f"{path}: cannot read: {error.strerror}") from None
    except (zlib.error, gzip.BadGzipFile, EOFError):
        raise PropertyError(f"{path}: not a gzip file, or damaged") from None
    if len(data) > LARGEST_FILE:
        raise PropertyError(f"{path}: larger than {LARGEST_FILE >> 20} MiB unpacked; refused")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise PropertyError(f"{path}: not a text file (VNN-LIB is UTF-8)") from None
    return parse_property(text, str(path))


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
    reader = _Reader(label)
    for group in _groups(text, label):
        reader.command(group)
    for kind in "XY":
        if not reader.declared[kind]:
            raise PropertyError(f"{label}: declares no variable {kind}_0")
        missing = set(range(len(reader.declared[kind]))) - reader.declared[kind]
        if missing:
            raise PropertyError(
                f"{label}: {kind} variables must be numbered from 0 without gaps;"
                f" {kind}_{min(missing)} is missing"
            )
    inputs, outputs = len(reader.declared["X"]), len(reader.declared["Y"])
    try:
        return Property(inputs, outputs, normal_form(reader.assertions, inputs))
    except GraphpruneError as error:
        raise PropertyError(f"{label}: {error}") from None


def _groups(text: str, label: str) -> Iterator[Group]:
    """The top-level lists of a text; no recursion, so nesting is a limit and not a crash."""
    stack: list[tuple[list[Node], int]] = []
    line = 1
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == "\n":
            line += 1
        elif token[0] == ";" or token.isspace():
            continue
        elif token == "(":
            if len(stack) >= DEEPEST:
                raise PropertyError(f"{label}: line {line}: nested deeper than {DEEPEST} levels")
            stack.append(([], line))
        elif token == ")":
            if not stack:
                raise PropertyError(f"{label}: line {line}: ')' without '('")
            items, start = stack.pop()
            group = Group(tuple(items), start)
            if stack:
                stack[-1][0].append(group)
            else:
                yield group
        elif not stack:
            raise PropertyError(f"{label}: line {line}: expected '(', found '{token[:40]}'")
        else:
            stack[-1][0].append(Token(token, line))
            line += token.count("\n")
    if stack:
        raise PropertyError(f"{label}: line {stack[-1][1]}: this '(' is never closed")


class _Reader:
    """Declarations and assertions as they come."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.declared: dict[str, set[int]] = {"X": set(), "Y": set()}
        self.assertions: list[Formula] = []

    def error(self, node: Node, message: str) -> PropertyError:
        return PropertyError(f"{self.label}: line {node.line}: {message}")

    def command(self, group: Group) -> None:
        head = group.head
        if head in ("declare-const", "declare-fun"):
            self._declare(group)
        elif head == "assert":
            if len(group.items) != 2:
                raise self.error(group, "assert takes one formula")
            self.assertions.append(self.formula(group.items[1]))
        elif head not in _IGNORED:
            raise self.error(
                group,
                f"unknown command '{head}'; VNN-LIB 1.0 has declare-const, declare-fun and assert",
            )

    def _declare(self, group: Group) -> None:
        items = list(group.items)
        if group.head == "declare-fun" and len(items) == 4 and items[2] == Group((), items[2].line):
            del items[2]
        words = [item.text if isinstance(item, Token) else "" for item in items]
        match = _VARIABLE.fullmatch(words[1]) if len(words) == 3 and words[2] == "Real" else None
        if match is None:
            raise self.error(group, f"expected ({group.head} X_i Real) or Y_i")
        kind, index = match[1], int(match[2])
        if index in self.declared[kind]:
            raise self.error(group, f"{words[1]} is declared twice")
        self.declared[kind].add(index)

    def formula(self, node: Node) -> Formula:
        if isinstance(node, Token):
            raise self.error(node, f"expected a formula, found '{node.text[:40]}'")
        head = node.head
        if head in ("and", "or"):
            if len(node.items) < 2:
                raise self.error(node, f"empty '{head}'")
            return Junction(head == "or", tuple(self.formula(item) for item in node.items[1:]))
        if head in ("<=", ">="):
            if len(node.items) != 3:
                raise self.error(node, f"'{head}' compares two terms")
            left, right = (self.term(item) for item in node.items[1:])
            return self._atom(node, left, right) if head == "<=" else self._atom(node, right, left)
        hint = "; strict comparisons are written <= or >= in VNN-LIB" if head in ("<", ">") else ""
        raise self.error(node, f"unknown formula '{head}'; known: and, or, <=, >={hint}")

    def _atom(self, node: Node, left: _Linear, right: _Linear) -> Atom:
        """left <= right as terms <= limit."""
        both = left.plus(right.scaled(Fraction(-1)))
        inputs = {i: c for (kind, i), c in both.terms.items() if kind == "X"}
        outputs = {i: c for (kind, i), c in both.terms.items() if kind == "Y"}
        if len(inputs) > 1 or (inputs and outputs):
            raise self.error(
                node, "a constraint must be about one input (its bound) or about outputs only"
            )
        return Atom(
            bool(inputs), tuple(sorted((inputs or outputs).items())), -both.constant, node.line
        )

    def term(self, node: Node) -> _Linear:
        if isinstance(node, Token):
            return self._leaf(node)
        head, parts = node.head, [self.term(item) for item in node.items[1:]]
        if head not in ("+", "-", "*"):
            raise self.error(node, f"unknown term '{head}'; known: numbers, variables, +, -, *")
        if not parts:
            raise self.error(node, f"'{head}' without operands")
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
                raise self.error(node, "a product of two variables is not linear")
            self._check_size(node, total)
        return total

    def _check_size(self, node: Node, total: _Linear) -> None:
        for value in (total.constant, *total.terms.values()):
            if max(value.numerator.bit_length(), value.denominator.bit_length()) > 8192:
                raise self.error(node, "the numbers of this term are too long")

    def _leaf(self, token: Token) -> _Linear:
        text = token.text
        variable = _VARIABLE.fullmatch(text)
        if variable is not None:
            kind, index = variable[1], int(variable[2])
            if index not in self.declared[kind]:
                raise self.error(token, f"{text} is not declared")
            return _Linear({(kind, index): Fraction(1)}, Fraction())
        number = _NUMBER.fullmatch(text) if len(text) <= LONGEST_NUMBER else None
        if number is None:
            raise self.error(token, f"expected a number or a variable, found '{text[:40]}'")
        if number[1] and abs(int(number[1])) > LARGEST_EXPONENT:
            raise self.error(token, f"the number '{text[:40]}' is out of range")
        value = Fraction(text)
        if abs(value) > Fraction(10) ** LARGEST_EXPONENT:
            raise self.error(token, f"the number '{text[:40]}' is out of range")
        return _Linear({}, value)
