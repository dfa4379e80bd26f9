"""VNN-LIB 2.0: networks with tensors, the same properties as in 1.0, and what is refused."""

from fractions import Fraction
from pathlib import Path

import pytest

from graphprune.errors import GraphpruneError
from graphprune.vnnlib import Property, parse_property, read_property

HEAD = "(vnnlib-version <2.0>)\n"
BOX = "(assert (>= X[0,0] 0)) (assert (<= X[0,0] 1)) (assert (= X [0, 1] 0.5))\n"


def declared(
    inputs: str = "(declare-input X float32 [1,2])", outputs: str = "", rest: str = ""
) -> str:
    outputs = outputs or '(declare-output Y Real [2] "scores")'
    return f"{HEAD}(declare-network N {inputs} {rest} {outputs})\n"


def normal(prop: Property) -> object:
    return (
        prop.inputs,
        prop.outputs,
        [(r.box.lower, r.box.upper, r.polytopes) for r in prop.regions],
    )


def test_elements_are_numbered_in_row_major_order() -> None:
    prop = parse_property(declared() + BOX + "(assert (or (< Y[1] Y[0]) (>= Y[1] 2)))")
    assert (prop.inputs, prop.outputs) == (2, 2)
    assert prop.regions[0].box.upper == (Fraction(1), Fraction(1, 2))
    first, second = prop.regions[0].polytopes
    assert (first[0].terms, first[0].strict) == (((0, Fraction(-1)), (1, Fraction(1))), True)
    assert (second[0].terms, second[0].limit) == (((1, Fraction(-1)),), Fraction(-2))
    assert (prop.input_names, prop.output_names) == ((None,), ("scores",))


def test_several_inputs_follow_one_another() -> None:
    text = declared(
        '(declare-input A Real []) (declare-input B Real [2,1] "b")', "(declare-output Y Real [])"
    )
    for name, at in (("A", 1), ("B[0,0]", 2), ("B[1,0]", 3)):
        text += f"(assert (= {name} {at}))"
    prop = parse_property(text + "(assert (<= Y 0))")
    assert list(map(int, prop.regions[0].box.lower)) == [1, 2, 3]
    assert prop.input_names == (None, "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (declared(rest='(declare-hidden H Real [3] "relu")'), "line 2: the hidden node 'H'"),
        (declared(rest="(equal-to M)"), r"line 2: \(equal-to M\) speaks of another network"),
        (declared() + declared().replace(HEAD, "").replace("N", "M"),
         "line 3: the property speaks of several networks .'N' and 'M'."),
        (declared("(declare-input X int64 [2])"), "line 2: X has elements of type int64"),
        (declared("(declare-input X Real [2] initialized)"), "X is declared with 'initialized'"),
        (declared("(declare-input X Real)"), "expected an element type and a shape, found .Real."),
        (declared("(declare-input X Real 2)"), "line 2: X is declared with '2'"),
        (declared("(declare-input X [2])"), "line 2: expected"),
        (declared() + "(assert (<= X[0,2] 0))", r"line 3: X\[0, 2\] is outside of the shape \[1, 2\]"),
        (declared() + "(assert (<= X[1] 0))", r"line 3: X has shape \[1, 2\]: its elements have 2"),
        (declared() + "(assert (<= X 0))", "line 3: X has shape"),
        (declared() + "(assert (<= Z[0] 0))", r"line 3: Z\[0\] is not declared"),
        (declared() + "(assert (<= X[0,0] 0))", r"input X\[0,0\] has no lower bound"),
        (declared() + "(declare-const X_0 Real)", "line 3: 'X_0' is no element"),
        ("(declare-const X_0 Real)" + declared(), "line 2: a file declares a network or single"),
        (HEAD + "(declare-network N (declare-input X Real [2]))", "declares no element of an output"),
        (declared("(declare-input X Real [99999,99999])"), "line 2: X has more than"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(text: str, message: str) -> None:
    with pytest.raises(GraphpruneError, match=message):
        parse_property(text)


REFUSED = {
    "intermediate_nodes": "the hidden node 'N'",
    "multiple_networks": r"\(equal-to AcasXu\) speaks of another|several networks",
    "initialized": "A is declared with 'initialized'",
    "mnist": r"input X\[0,1\] has no lower bound",  # its text leaves them out
    "test_linearise": r"input X\[1\] has no lower bound",
}


def test_the_tests_of_the_standard(truth: Path) -> None:
    files = sorted((truth / "vnnlib2" / "standard").glob("*.vnnlib"))
    assert len(files) > 10
    for path in files:
        if path.stem in REFUSED:
            with pytest.raises(GraphpruneError, match=REFUSED[path.stem]):
                read_property(path)
        else:
            assert read_property(path).regions


def test_pairs_of_both_versions_agree(truth: Path) -> None:
    pairs = sorted((truth / "vnnlib2").glob("*/v2/*"))
    assert len(pairs) > 30
    for path in pairs:
        old = path.parent.parent / "v1" / path.name
        assert normal(read_property(path)) == normal(read_property(old)), path
