"""Formulas of the language: their normal form says what they say, point by point."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.vnnlib import Property, parse_property

DECLARED = """(declare-const X_0 Real) (declare-const X_1 Real)
(declare-const Y_0 Real) (declare-const Y_1 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1))
"""
Point = dict[str, Fraction]
NAMES = ("X_0", "X_1", "Y_0", "Y_1")
GRID = [Fraction(k, 4) for k in range(-4, 5)]


def satisfied(prop: Property, point: Point) -> bool:
    x = np.array([float(point["X_0"]), float(point["X_1"])])
    y = np.array([float(point["Y_0"]), float(point["Y_1"])])
    return any(r.box.contains(x) and r.violated_by(y, x) for r in prop.regions)


class Said:
    """A text, and its meaning by its own evaluation."""

    def __init__(self, text: str, parts: tuple["Said", ...] = ()) -> None:
        self.text, self.parts = text, parts

    def at(self, point: Point) -> bool:
        head = self.text[1 : self.text.index(" ")]
        values = [part.at(point) for part in self.parts]
        if self.parts:
            if head == "=>":
                return not values[0] or values[1]
            return {"and": all(values), "or": any(values), "not": not values[0]}[head]
        _, *words = self.text.strip("()").split()
        a, b = (_value(words, point) for _ in range(2))
        return {"<=": a <= b, "<": a < b, ">=": a >= b, ">": a > b, "=": a == b, "!=": a != b}[head]


def _value(words: list[str], point: Point) -> Fraction:
    """Read one term from the front of the words of a comparison."""
    word = words.pop(0)
    if word.startswith("("):
        operands = [_value(words, point), _value(words, point)]
        return {"(+": operands[0] + operands[1], "(-": operands[0] - operands[1],
                "(*": operands[0] * operands[1]}[word]  # fmt: skip
    word = word.rstrip(")")
    return point[word] if word in point else Fraction(word)


@st.composite
def comparisons(draw: st.DrawFn) -> Said:
    head = draw(st.sampled_from(["<=", "<", ">=", ">", "=", "!="]))
    number = str(float(draw(st.sampled_from(GRID))))
    left = draw(st.sampled_from(NAMES))
    if draw(st.booleans()):
        return Said(f"({head} {left} {number})")
    factor = draw(st.sampled_from(["-1", "0.5", "2"]))
    other = draw(st.sampled_from(NAMES))
    operator = draw(st.sampled_from(["+", "-"]))
    return Said(f"({head} ({operator} {left} (* {factor} {other})) {number})")


def joined(parts: st.SearchStrategy[Said]) -> st.SearchStrategy[Said]:
    def join(head: str, of: list[Said]) -> Said:
        of = of[: {"not": 1, "=>": 2}.get(head, 3)]
        return Said(f"({head} {' '.join(part.text for part in of)})", tuple(of))

    heads = st.sampled_from(["and", "or", "not", "=>"])
    return st.builds(join, heads, st.lists(parts, min_size=2, max_size=3))


FORMULAS = st.recursive(comparisons(), joined, max_leaves=6)


@given(st.lists(FORMULAS, min_size=1, max_size=3), st.data())
def test_the_normal_form_holds_where_the_assertions_do(
    said: list[Said], data: st.DataObject
) -> None:
    prop = parse_property(DECLARED + "\n".join(f"(assert {part.text})" for part in said))
    for _ in range(10):
        point = {name: data.draw(st.sampled_from(GRID)) for name in NAMES}
        assert satisfied(prop, point) == all(part.at(point) for part in said)


@given(FORMULAS, FORMULAS)
def test_spelling_and_layout_change_nothing(one: Said, other: Said) -> None:
    """Long forms of the commonest constraints are read by another way through the reader."""
    plain = parse_property(DECLARED + f"(assert (or {one.text} {other.text}))")
    spread = f"(assert ; (\n (or\n{one.text} {other.text} ) )".replace("(", "(\t ").replace(
        ")", " )"
    )
    for again in (spread, spread.replace("X_0", "(+ X_0 0)").replace("Y_0", "(* 1 Y_0)")):
        found = parse_property(DECLARED + again)
        assert [r.polytopes for r in found.regions] == [r.polytopes for r in plain.regions]
        assert [r.box.lower for r in found.regions] == [r.box.lower for r in plain.regions]


def test_strict_bounds_leave_the_ends_out() -> None:
    prop = parse_property(
        DECLARED + "(assert (< X_0 0.5)) (assert (> X_0 0.25)) (assert (< Y_0 1))"
    )
    box = prop.regions[0].box
    assert (box.lower[0], box.upper[0]) == (Fraction(1, 4), Fraction(1, 2))
    low, high = box.inward(np.dtype(np.float32))
    assert low[0] == np.nextafter(np.float32(0.25), np.float32(1))
    assert high[0] == np.nextafter(np.float32(0.5), np.float32(0))
    for x, inside in ((0.25, False), (low[0], True), (high[0], True), (0.5, False)):
        assert box.contains(np.array([x, 0.0])) == inside
    assert not prop.regions[0].violated_by(np.array([1.0, 0.0]))
    assert parse_property(DECLARED + "(assert (< X_0 0)) (assert (> X_0 0))").regions == ()
    assert parse_property(DECLARED + "(assert (< X_0 -1)) (assert (<= Y_0 0))").regions == ()


def test_equal_fixes_an_input() -> None:
    box = parse_property(DECLARED + "(assert (= X_0 0.1)) (assert (<= Y_0 0))").regions[0].box
    assert box.lower[0] == box.upper[0] == Fraction(1, 10)
    assert box.contains(np.array([0.1, 0.0]))


@pytest.mark.parametrize("text", ["(= X_0 0.5)", "(not (!= X_0 0.5))", "(== 0.5 X_0)"])
def test_three_spellings_of_equal(text: str) -> None:
    box = parse_property(DECLARED + f"(assert {text})").regions[0].box
    assert box.lower[0] == box.upper[0] == Fraction(1, 2)


def test_a_long_union_is_no_product() -> None:
    """One disjunction may list many cases; products of several grow exponentially."""
    cases = " ".join(f"(and (<= X_0 {k / 30000}) (<= Y_0 {k % 7}))" for k in range(20100))
    prop = parse_property(DECLARED + f"(assert (or {cases}))")
    assert len(prop.regions) == 20100
    assert prop.regions[7].box.upper[0] == Fraction(str(7 / 30000))
    assert prop.regions[7].polytopes == prop.regions[14].polytopes
