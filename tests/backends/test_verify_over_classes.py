"""Properties above a Softmax, a LogSoftmax and an ArgMax: what they say of the scores."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from graphprune.backends.verify import network_for, verify
from graphprune.backends.verify.over_classes import ArgMax, LogSoftmax, OverClasses, Softmax
from graphprune.runtime.original import run_file
from graphprune.testing import arrays
from graphprune.vnnlib import Constraint, Disjunct, RationalBox, parse_property, read_property
from tests.oracles import Floats, Perceptron

CLASSES = 3
BOX = RationalBox((Fraction(0),), (Fraction(1),))
HEADS: dict[str, OverClasses] = {
    "Softmax": Softmax({}),
    "LogSoftmax": LogSoftmax({}),
    "ArgMax": ArgMax({}),
}


def outside(polytopes: tuple[tuple[Constraint, ...], ...], scores: Floats) -> bool:
    return not Disjunct(BOX, polytopes).violated_by(scores)


def slack(constraint: Constraint, values: Floats) -> float:
    total = sum(float(c) * float(values[j]) for j, c in constraint.terms)
    return float(constraint.limit) - total


@given(
    st.sampled_from(["Softmax", "LogSoftmax"]), arrays.weights(2, CLASSES, largest=2.0),
    arrays.weights(2, largest=2.0), arrays.weights(5, CLASSES, largest=4.0),
)  # fmt: skip
def test_scores_left_out_do_not_satisfy_the_property(
    name: str, rows: Floats, limits: Floats, samples: Floats
) -> None:
    """Each sample is a tangent's point too, where the result is tightest."""
    head = HEADS[name]
    polytope = tuple(
        Constraint(tuple((j, Fraction(float(c))) for j, c in enumerate(row) if c), Fraction(limit))
        for row, limit in zip(rows, limits.tolist(), strict=True)
    )
    below = head.below(polytope, CLASSES, samples)
    if below is None:
        assert name == "LogSoftmax"
        return
    for scores in samples:
        values = head.value(scores)
        if outside(below, scores):
            assert min(slack(c, values) for c in polytope) < 1e-9


@given(st.integers(0, 2), st.floats(0.01, 0.99), arrays.weights(4, 2, largest=6.0))
def test_two_classes_are_linear(k: int, limit: float, samples: Floats) -> None:
    """Log-odds: the result says the same, up to rounding."""
    sign = -1 if k else 1
    polytope = (Constraint(((k % 2, Fraction(sign)),), sign * Fraction(limit)),)
    for name in ("Softmax", "LogSoftmax"):
        end = limit if name == "Softmax" else float(np.log(limit))
        stated = (Constraint(polytope[0].terms, sign * Fraction(end)),)
        below = HEADS[name].below(stated, 2, samples[:0])
        assert below is not None
        for scores in samples:
            room = slack(stated[0], HEADS[name].value(scores))
            if abs(room) > 1e-9:
                assert outside(below, scores) == (room < 0)


def test_values_that_probabilities_never_take() -> None:
    none = np.zeros((0, CLASSES))
    above = (Constraint(((0, Fraction(-1)),), Fraction(-101, 100)),)  # p_0 >= 1.01
    assert HEADS["Softmax"].below(above, CLASSES, none) == ()
    below = (Constraint(((0, Fraction(1)),), Fraction(101, 100)),)  # p_0 <= 1.01
    assert HEADS["Softmax"].below(below, CLASSES, none) == ((),)
    assert HEADS["LogSoftmax"].below(above, CLASSES, none) is not None
    positive = (Constraint(((0, Fraction(-1)),), Fraction(-1, 100)),)  # log p_0 >= 0.01
    assert HEADS["LogSoftmax"].below(positive, CLASSES, none) == ()
    assert HEADS["LogSoftmax"].below(below, CLASSES, none) == ((),)


@given(st.sampled_from([0, 1]), st.floats(-1, 3), arrays.weights(6, CLASSES, largest=1.0))
def test_labels(last: int, limit: float, samples: Floats) -> None:
    head = ArgMax({"select_last_index": last})
    stated = (Constraint(((0, Fraction(1)),), Fraction(limit)),)
    for scores in np.round(samples, 1):  # ties, too
        below = head.below(stated, CLASSES, samples)
        assert below is not None
        if outside(below, scores):
            assert head.value(scores)[0] > limit


HEAD = """(declare-const X_0 Real) (declare-const X_1 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1))
"""
WEIGHTS = [
    np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]]),
    np.array([[1.0, -1, 2], [0.5, 2, -1], [-1, 1, 1]]),
]


def model(path: Path, op_type: str) -> Path:
    proto = Perceptron(WEIGHTS, [np.zeros(3), np.array([0.1, -0.2, 0.0])]).model()
    last = proto.graph.node[-1].output[0]
    proto.graph.node.append(helper.make_node(op_type, [last], ["p"], axis=1))
    kind = onnx.TensorProto.INT64 if op_type == "ArgMax" else onnx.TensorProto.FLOAT
    shape = ("N", 1) if op_type == "ArgMax" else ("N", 3)
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("p", kind, shape))
    onnx.save(proto, path / "model.onnx")
    return path / "model.onnx"


@pytest.mark.parametrize("gap", [-0.02, 0.005])
@pytest.mark.parametrize("said", ["(>= Y_1 {0})", "(>= (- Y_1 Y_0) {0})", "(<= Y_1 {0})"])
def test_thresholds_close_to_the_extreme(tmp_path: Path, said: str, gap: float) -> None:
    """A little inside of what a fine grid reaches: sat; a little beyond: unsat."""
    path = model(tmp_path, "Softmax")
    axis = np.linspace(-1, 1, 201, dtype=np.float32)
    x = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    declared = HEAD + "".join(f"(declare-const Y_{j} Real) " for j in range(3))
    y = run_file(network_for(path, parse_property(declared + "(assert (>= Y_0 0))")), x)
    value = (y[:, 1] - y[:, 0] if "-" in said else y[:, 1]).astype(float)
    limit = value.max() + gap if ">=" in said else value.min() - gap
    prop = parse_property(declared + f"(assert {said.format(round(float(limit), 6))})")
    verdict = verify(network_for(path, prop), prop, time_limit=60.0)
    assert verdict.answer == ("sat" if gap < 0 else "unsat")
    if verdict.point is not None:
        assert prop.regions[0].violated_by(verdict.point.y)


def test_properties_of_a_label(tmp_path: Path) -> None:
    path = model(tmp_path, "ArgMax")
    declared = HEAD + "(declare-const Y_0 Real) "
    for label in range(3):
        prop = parse_property(declared + f"(assert (= Y_0 {label}))")
        verdict = verify(network_for(path, prop), prop, time_limit=60.0)
        assert verdict.point is not None
        assert verdict.point.y.tolist() == [label]
    for said in ("(> Y_0 2)", "(= Y_0 0.5)", "(and (>= Y_0 0.2) (<= Y_0 0.8))"):
        prop = parse_property(declared + f"(assert {said})")
        assert verify(network_for(path, prop), prop).answer == "unsat"


@pytest.mark.parametrize(
    ("name", "answer"),
    [("soft_cmp", "sat"), ("soft_sat", "sat"), ("soft_unsat", "unsat"), ("soft_one", "unsat"),
     ("soft_gap", "unsat")],
)  # fmt: skip
def test_thresholds_from_elsewhere(truth: Path, name: str, answer: str) -> None:
    folder = truth / "field" / "softmax-threshold"
    prop = read_property(folder / f"{name}.vnnlib")
    verdict = verify(network_for(folder / "soft.onnx", prop), prop, time_limit=100.0)
    assert verdict.answer == answer


def test_a_label_from_elsewhere(truth: Path) -> None:
    folder = truth / "field" / "argmax-verify"
    prop = read_property(folder / "argmax.vnnlib")
    assert verify(network_for(folder / "argmax.onnx", prop), prop).answer == "sat"
