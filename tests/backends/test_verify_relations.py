"""Constraints between inputs, or between inputs and outputs, and strict ones: against a grid."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.verify import verify
from graphprune.canonical import load
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing import arrays
from graphprune.vnnlib import Property, parse_property, read_property
from tests.conftest import Floor
from tests.drawn import perceptrons
from tests.oracles import Floats, Perceptron

HEAD = """(declare-const X_0 Real) (declare-const X_1 Real)
(declare-const Y_0 Real) (declare-const Y_1 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1))
"""
AXIS = np.linspace(-1, 1, 41)
GRID = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2)


def least(net: Perceptron, weights: Floats, limits: Floats) -> float:
    """Least over the grid of the largest constraint ``weights . (x, y) - limits``."""
    values = np.array([[*x, *net.logits(x)] for x in GRID]) @ weights.T - limits
    return float(values.max(axis=1).min())


@st.composite
def questions(draw: st.DrawFn) -> tuple[gp.Network, Property, float]:
    """A network, a property whose constraints are about all variables, its least violation."""
    net = draw(perceptrons([2, 4, 2]))
    weights = np.round(draw(arrays.weights(draw(st.integers(1, 2)), 4, largest=2.0)), 3)
    slack = draw(arrays.weights(len(weights)))
    limits = np.round(
        slack + weights @ np.array([0.3, -0.2, *net.logits(np.array([0.3, -0.2]))]), 3
    )
    names = ("X_0", "X_1", "Y_0", "Y_1")
    head = draw(st.sampled_from(["<=", "<"]))
    text = HEAD
    for row, limit in zip(weights.tolist(), limits.tolist(), strict=True):
        total = " ".join(f"(* {c!r} {name})" for c, name in zip(row, names, strict=True))
        text += f"(assert ({head} (+ {total}) {limit!r}))\n"
    return gp.from_proto(net.model()), parse_property(text), least(net, weights, limits)


@settings(max_examples=15)
@given(questions())
def test_verdicts_agree_with_a_grid(
    floor: Floor, drawn: tuple[gp.Network, Property, float]
) -> None:
    network, prop, best = drawn
    verdict = verify(network, prop, time_limit=60.0)
    floor.checked(verdict.answer in ("sat", "unsat"), least=8)
    if verdict.point is not None:
        x = verdict.point.x
        y = run_original(network, x.reshape(1, 2).astype(np.float32))[0]
        assert any(r.box.contains(x) and r.violated_by(y, x) for r in prop.regions)
    if best < -1e-3:
        assert verdict.answer == "sat"
    if verdict.answer == "unsat":
        assert best > -1e-6


def test_the_input_is_handed_on() -> None:
    from graphprune.backends.verify.relations import with_inputs

    net = Perceptron([np.array([[1.0, 2.0], [3.0, 4.0]])], [np.array([0.5, -0.5])])
    network = gp.from_proto(net.model())
    x = np.array([[0.25, -1.0]])
    both = forward64(with_inputs(network), x)[0]
    np.testing.assert_allclose(both, [[0.25 - 2.0 + 0.5, 0.75 - 4.0 - 0.5, 0.25, -1.0]])


IDENTITY = Perceptron([np.eye(2), np.eye(2)], [np.ones(2), -np.ones(2)])  # of [-1, 1]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("(assert (>= (- X_0 X_1) 0)) (assert (>= Y_1 (+ Y_0 0.01)))", "unsat"),
        ("(assert (>= (- X_0 X_1) 0)) (assert (>= Y_1 (- Y_0 0.01)))", "sat"),
        ("(assert (> Y_0 (+ X_0 0.001)))", "unsat"),
        ("(assert (> Y_0 (- X_0 0.001)))", "sat"),
        ("(assert (> (+ X_0 X_1) 2.001))", "unsat"),
        ("(assert (> (+ X_0 X_1) 1.9)) (assert (< Y_0 1))", "sat"),
    ],
)
def test_relations_of_the_identity(text: str, answer: str) -> None:
    verdict = verify(gp.from_proto(IDENTITY.model()), parse_property(HEAD + text), time_limit=60.0)
    assert verdict.answer == answer


def test_a_strict_constraint_is_not_met_by_its_limit() -> None:
    """y = relu(x) reaches 1 at x = 1 only: at most 1 is sat there, above 1 is not."""
    net = Perceptron([np.eye(2), np.eye(2)], [np.zeros(2), np.zeros(2)])
    network = gp.from_proto(net.model())
    fixed = HEAD + "(assert (= X_0 1)) (assert (= X_1 1))"
    assert verify(network, parse_property(fixed + "(assert (>= Y_0 1))")).answer == "sat"
    above = verify(network, parse_property(fixed + "(assert (> Y_0 1))"), time_limit=20.0)
    assert above.answer in ("unsat", "unknown")
    assert above.point is None


@pytest.mark.parametrize(
    ("name", "answer"),
    [("eq", "sat"), ("io", "sat"), ("noteq", "sat"), ("strict", "sat"), ("v2", "sat"),
     ("relin", "unsat")],
)  # fmt: skip
def test_small_properties_from_elsewhere(truth: Path, name: str, answer: str) -> None:
    """Their answers on a grid of 10^6 points; `relin` is off by a distance."""
    folder = truth / "field" / "vnnlib-small"
    prop = read_property(folder / f"{name}.vnnlib")
    network = load(folder / "mlp2.onnx")
    verdict = verify(network, prop, time_limit=100.0)
    assert verdict.answer == answer
    rng = np.random.default_rng(0)
    x = np.round(rng.uniform(-1, 1, (2000, 2)), 6)
    y = run_original(network, x.astype(np.float32))
    region = prop.regions[0]
    if answer == "unsat":
        assert not any(region.violated_by(b, a) for a, b in zip(x, y, strict=True))
