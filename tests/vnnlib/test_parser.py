"""Reading VNN-LIB: normal form, exactness, and files that are wrong or hostile."""

import csv
import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from graphprune.errors import GraphpruneError
from graphprune.vnnlib import Property, parse_property, read_property

DECLARED = """; a comment with (parentheses
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real) (declare-fun Y_1 () Real)
"""
BOX = """(assert (<= X_0 1.5)) (assert (>= X_0 -1e-1))
(assert (and (<= X_1 0.1) (>= X_1 0.1)))
"""


def parse(text: str) -> Property:
    return parse_property(DECLARED + text)


def constraints(prop: Property) -> list[set[tuple[tuple[tuple[int, Fraction], ...], Fraction]]]:
    """Per polytope of the only region, its constraints as plain tuples."""
    (region,) = prop.regions
    return [{(c.terms, c.limit) for c in polytope} for polytope in region.polytopes]


def test_a_box_and_one_constraint() -> None:
    prop = parse(BOX + "(assert (>= Y_0 Y_1))")
    assert (prop.inputs, prop.outputs) == (2, 2)
    box = prop.regions[0].box
    assert box.lower == (Fraction(-1, 10), Fraction(1, 10))
    assert box.upper == (Fraction(3, 2), Fraction(1, 10))
    assert constraints(prop) == [{(((0, Fraction(-1)), (1, Fraction(1))), Fraction(0))}]


def test_linear_terms() -> None:
    text = "(assert (<= (+ (* 2.5 Y_0) (- Y_1) (- 1 (* Y_0 0.5))) (* 2 (- Y_1 3))))"
    # 2.5 Y_0 - Y_1 + 1 - 0.5 Y_0 <= 2 Y_1 - 6
    assert constraints(parse(BOX + text)) == [
        {(((0, Fraction(2)), (1, Fraction(-3))), Fraction(-7))}
    ]


def test_nested_junctions_become_disjunctive_normal_form() -> None:
    text = """(assert (or (and (<= Y_0 1) (or (<= Y_1 2) (<= Y_1 3))) (>= Y_0 4)))
              (assert (or (<= Y_1 5) (<= Y_1 6)))"""
    limits = [sorted(limit for _, limit in polytope) for polytope in constraints(parse(BOX + text))]
    assert sorted(limits) == sorted(
        [[1, 2, 5], [1, 2, 6], [1, 3, 5], [1, 3, 6], [-4, 5], [-4, 6]], key=None
    )


def test_boxes_in_a_disjunction_are_regions() -> None:
    text = """(assert (or (and (<= X_0 0.5) (>= X_0 0.25) (<= Y_0 0))
                          (and (<= X_0 0.5) (>= X_0 0.25) (<= Y_1 0))
                          (and (<= X_0 -0.05) (<= Y_1 1))
                          (and (>= X_0 2) (<= Y_1 1))))"""
    regions = parse(BOX + text).regions  # the last case is empty
    assert [(r.box.lower[0], r.box.upper[0], len(r.polytopes)) for r in regions] == [
        (Fraction(1, 4), Fraction(1, 2), 2),
        (Fraction(-1, 10), Fraction(-1, 20), 1),
    ]


def test_constants_decide() -> None:
    assert parse(BOX + "(assert (<= 1 0))").regions == ()
    assert parse(BOX + "(assert (<= 0 1))").regions[0].polytopes == ((),)
    assert constraints(parse(BOX + "(assert (or (<= (- Y_0 Y_0) -1) (<= Y_1 2)))")) == [
        {(((1, Fraction(1)),), Fraction(2))}
    ]


def test_bounds_round_outward_for_proofs_and_inward_for_points() -> None:
    box = parse(BOX + "(assert (<= Y_0 0))").regions[0].box
    lower, upper = box.outward
    assert lower[0] <= Fraction(-1, 10) < np.nextafter(lower[0], np.inf)
    assert lower[1] <= Fraction(1, 10) <= upper[1]
    lower, upper = box.inward(np.dtype(np.float32))
    assert Fraction(float(lower[0])) >= Fraction(-1, 10)
    assert np.float32(lower[0]) == lower[0]
    # No float32 is 0.1: the point is the decimal itself.
    assert lower[1] == upper[1] == 0.1
    assert box.contains(np.array([lower[0], 0.1]))
    assert not box.contains(np.array([-0.1000001, 0.1]))
    assert not box.contains(np.array([0.0, np.float64(np.float32(0.1))]))


def test_constraints_hold_exactly() -> None:
    (region,) = parse(BOX + "(assert (<= (* 0.1 Y_0) 0.1))").regions
    assert region.violated_by(np.array([1.0, 0.0]))
    assert not region.violated_by(np.array([np.nextafter(1.0, 2.0), 0.0]))
    assert not region.violated_by(np.array([np.nan, 0.0]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOX + "(assert (<= Y_0 Y_7))", "line 7: Y_7 is not declared"),
        (BOX + "(assert (<= (* Y_0 Y_1) 1))", "line 7: a product of two variables"),
        (BOX + "(assert (xor (<= Y_0 1) (<= Y_1 1)))", "line 7: unknown formula 'xor'"),
        (BOX + "(assert (not (<= Y_0 1) (<= Y_0 2)))", "line 7: 'not' takes 1 formula$"),
        (BOX + "(assert (=> (<= Y_0 1)))", "line 7: '=>' takes 2 formulas"),
        (BOX + "(assert (<= Y_0 (<= Y_0 1)))", "line 7: expected a term, found a formula"),
        (BOX + "(assert (+ Y_0 1))", "line 7: expected a formula, found a term"),
        (BOX + "(<= Y_0 1)", "line 7: a constraint outside of an assert"),
        (BOX + "(assert (or (assert (<= Y_0 1))))", "line 7: an assert inside of a list"),
        (BOX + '(assert (<= Y_0 1)) "', "line 7: expected '\\('"),
        (BOX + "(assert (<= Y_0 1)) [", "line 7: expected '\\('"),
        (BOX + "(assert (<= Y_0 (/ 1 3)))", "line 7: unknown term '/'"),
        (BOX + "(assert (<= Y_0 nan))", "line 7: expected a number or a variable, found 'nan'"),
        (BOX + "(assert (<= Y_0 1e999999999))", "line 7: the number '1e999999999' is out of"),
        (BOX + "(assert (<= Y_0 " + "9" * 9000 + "))", "line 7: expected a number"),
        (BOX + "(assert (<= Y_0 " + "9" * 390 + "))", "line 7: the number .* is out of range"),
        (BOX + "(assert (and))", "line 7: empty 'and'"),
        (BOX + "(assert (<= Y_0))", "line 7: '<=' compares two terms"),
        (BOX + "(assert)", "line 7: assert takes one formula"),
        (BOX + "(assert (<= Y_0 (+)))", "line 7: '\\+' without operands"),
        (BOX + "(assert (<= Y_0 1)", r"line 7: this '\(' is never closed"),
        (BOX + "(assert (<= Y_0 1)))", r"line 7: '\)' without '\('"),
        (BOX + "assert", r"line 7: expected '\(', found 'assert'"),
        (BOX + "(minimize Y_0)", "line 7: unknown command 'minimize'"),
        (BOX + "(declare-const Z_0 Real)", "line 7: expected X_i or Y_i of type Real, found 'Z_0'"),
        (BOX + "(declare-const X_1 Real)", "line 7: X_1 is declared twice"),
        (BOX + "(declare-const X_5 Real)", "numbered from 0 without gaps; X_2 is missing"),
        ("(assert (<= X_0 1)) (assert (<= Y_0 1))", "input X_0 has no lower bound"),
        ("(assert (<= Y_0 1))", "input X_0 has no lower bound"),
        (BOX + "(assert (or (<= X_0 0) (<= Y_0 1)))\n" + "(" * 5000, "nested deeper than 200"),
        (BOX + "(assert " + "(or (<= Y_0 0) (<= Y_1 0)) " * 2 + ")", "assert takes one"),
        (BOX + "(assert (or (<= Y_0 0) (<= Y_1 0)))" * 40, "more than 20000 cases"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, message: str) -> None:
    with pytest.raises(GraphpruneError, match=message):
        parse(text)


def test_deep_products_do_not_grow_without_end() -> None:
    term = "Y_0"
    for _ in range(150):
        term = f"(* 1e-290 {term})"
    with pytest.raises(GraphpruneError, match="too long"):
        parse(BOX + f"(assert (<= {term} 1))")


def test_without_outputs_or_inputs() -> None:
    with pytest.raises(GraphpruneError, match="declares no variable Y_0"):
        parse_property("(declare-const X_0 Real)")
    with pytest.raises(GraphpruneError, match="declares no variable X_0"):
        parse_property("")


def test_files(tmp_path: Path) -> None:
    text = (DECLARED + BOX + "(assert (<= Y_0 0))").encode()
    plain, packed = tmp_path / "p.vnnlib", tmp_path / "p.vnnlib.gz"
    plain.write_bytes(text)
    packed.write_bytes(gzip.compress(text))
    assert constraints(read_property(plain)) == constraints(read_property(packed))
    packed.write_bytes(gzip.compress(text)[:-20])
    with pytest.raises(GraphpruneError, match="truncated"):
        read_property(packed)
    packed.write_bytes(b"\x1f\x8b" + bytes(50))
    with pytest.raises(GraphpruneError, match="not a gzip file"):
        read_property(packed)
    with pytest.raises(GraphpruneError, match="no such file"):
        read_property(tmp_path / "none.vnnlib")
    with pytest.raises(GraphpruneError, match="cannot read"):
        read_property(tmp_path)
    plain.write_bytes(b"\xef\xbb\xbf" + text)  # a byte order mark
    assert constraints(read_property(plain)) == constraints(read_property(packed_as(packed, text)))
    plain.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GraphpruneError, match="not a text file"):
        read_property(plain)


def packed_as(path: Path, text: bytes) -> Path:
    path.write_bytes(gzip.compress(text))
    return path


def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphprune.vnnlib.files.LARGEST_FILE", 1 << 20)
    bomb = tmp_path / "bomb.vnnlib.gz"
    bomb.write_bytes(gzip.compress(bytes(1 << 24)))
    with pytest.raises(GraphpruneError, match="larger than 1 MiB"):
        read_property(bomb)


def test_every_small_property_of_the_competition_is_read(truth: Path) -> None:
    with (truth / "vnncomp" / "index.csv").open(newline="") as file:
        names = sorted({row["vnnlib"] for row in csv.DictReader(file)})
    small = [n for n in names if not n.endswith(".gz")]
    assert len(small) > 90
    for name in small:
        prop = read_property(truth / "vnncomp" / name)
        assert len(prop.regions) == 1
