"""Networks with smooth activations and few inputs: decided by splitting, against a grid."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from scipy.special import expit

import graphprune as gp
from graphprune.backends.verify import network_for, verify
from graphprune.backends.verify.query import VerificationQuery
from graphprune.backends.verify.root import row_bounds
from graphprune.backends.verify.smooth import split_boxes
from graphprune.backends.verify.specifications import boxes_of
from graphprune.runtime.gradient import scores_and_gradients
from graphprune.runtime.original import run_original
from graphprune.testing import arrays
from graphprune.vnnlib import Property, parse_property, read_property
from tests.backends.test_boxes import network_of
from tests.conftest import Floor
from tests.oracles import Floats

HEAD = """(declare-const X_0 Real) (declare-const X_1 Real)
(declare-const Y_0 Real) (declare-const Y_1 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1))
"""
AXIS = np.linspace(-1, 1, 61)
GRID = np.stack(np.meshgrid(AXIS, AXIS), -1).reshape(-1, 2)
FUNCTIONS = {"Tanh": np.tanh, "Sigmoid": expit}


def smooth(function: str, weights: list[Floats]) -> gp.Network:
    nodes, last = [], "x"
    for k in range(len(weights)):
        nodes.append(helper.make_node("MatMul", [last, f"w{k}"], [f"z{k}"]))
        last = f"z{k}"
        if k + 1 < len(weights):
            nodes.append(helper.make_node(function, [last], [f"h{k}"]))
            last = f"h{k}"
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "smooth", [helper.make_tensor_value_info("x", floats, ["N", 2])],
        [helper.make_tensor_value_info(last, floats, ["N", 2])],
        [numpy_helper.from_array(w.astype(np.float32), f"w{k}") for k, w in enumerate(weights)],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    return gp.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))


@st.composite
def questions(draw: st.DrawFn) -> tuple[gp.Network, Property, float]:
    """A network, a property, and its least violation on a grid (<= 0: sat)."""
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    shapes = [(2, 4), (4, 3), (3, 2)]
    weights = [
        draw(arrays.weights(*s, largest=3.0)).astype(np.float32).astype(float) for s in shapes
    ]
    values = GRID
    for w in weights[:-1]:
        values = FUNCTIONS[name](values @ w)
    values = values @ weights[-1]
    rows = np.round(draw(arrays.weights(draw(st.integers(1, 2)), 2, largest=2.0)), 2)
    slack = draw(st.floats(-0.3, 0.3))
    excess = values @ rows.T
    limits = np.round(excess[np.argmin(excess.max(axis=1))] + slack, 3)
    said = "".join(
        f"(assert (<= (+ (* {a!r} Y_0) (* {b!r} Y_1)) {limit!r}))"
        for (a, b), limit in zip(rows.tolist(), limits.tolist(), strict=True)
    )
    best = float((excess - limits).max(axis=1).min())
    return smooth(name, weights), parse_property(HEAD + said), best


@settings(max_examples=10)
@given(questions())
def test_verdicts_agree_with_a_grid(
    floor: Floor, drawn: tuple[gp.Network, Property, float]
) -> None:
    network, prop, best = drawn
    query = VerificationQuery.of(network, prop.regions[0], np.inf)
    if -0.02 < best < 0.1:  # the grid does not tell, and splitting might take long
        return
    result = split_boxes(query)
    floor.checked(True, least=2)
    assert result.unsat == (best > 0)
    if result.point is not None:
        y = run_original(network, result.point.x.reshape(1, 2).astype(np.float32))[0]
        assert prop.regions[0].violated_by(y)
        assert prop.regions[0].box.contains(result.point.x)


def test_rows_that_float32_does_not_hold_have_a_margin() -> None:
    network = smooth("Tanh", [np.eye(2), np.eye(2)])
    prop = parse_property(HEAD + "(assert (<= (* 0.1 Y_0) (- 5)))")
    query = VerificationQuery.of(network, prop.regions[0], np.inf)
    rows = np.array([[0.1, 1e-9], [np.float32(0.1), 0.0]])
    bounds = row_bounds(network, boxes_of(query), rows)[0]
    true = -0.1 * np.tanh(1.0)
    assert np.all(bounds <= true - np.array([1e-9 * np.tanh(1.0), 0.0]) + 1e-12)
    assert np.all(bounds > true - 0.1)
    assert verify(network, prop).answer == "unsat"


@pytest.mark.parametrize(
    ("name", "answer"),
    [("ctrl_s", "sat"), ("ctrl_u0.02", "unsat"), ("ctrl_u0.2", "unsat"), ("ctrl_u0.5", "unsat")],
)
def test_a_tanh_controller_is_decided(truth: Path, name: str, answer: str) -> None:
    folder = truth / "field" / "tanh-verify-unknown"
    prop = read_property(folder / f"{name}.vnnlib")
    verdict = verify(network_for(folder / "ctrl.onnx", prop), prop, time_limit=100.0)
    assert verdict.answer == answer


@pytest.mark.parametrize(
    ("function", "times", "value"), [("Log", 1, -0.69315), ("Exp", 200, 1.6487)]
)
def test_boxes_without_bounds_are_halved(function: str, times: int, value: float) -> None:
    """A multiple of sin^2 + cos^2 - 1, and 1/2: its bounds on the whole box are far from that."""
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,1] x) => (float[N,2] y)
          <float[1] five = {{5.0}}, float[1] less = {{{times - 0.5}}},
             float[1] times = {{{times}.0}}, float[1,2] w = {{1.0, -1.0}}> {{
          z = Mul (x, five)
          s = Sin (z)
          c = Cos (z)
          ss = Mul (s, s)
          cc = Mul (c, c)
          q = Add (ss, cc)
          t = Mul (q, times)
          p = Sub (t, less)
          h = {function} (p)
          y = MatMul (h, w)
        }}"""
    network = gp.from_proto(onnx.parser.parse_model(text))
    said = "(declare-const X_0 Real) (declare-const Y_0 Real) (declare-const Y_1 Real)"
    said += "(assert (>= X_0 -1)) (assert (<= X_0 1))"
    for limit, answer in ((value - 0.1, "sat"), (value + 0.1, "unsat")):
        asked = parse_property(f"{said} (assert (>= Y_0 {limit}))")
        assert verify(network, asked, time_limit=20).answer == answer


def property_of(inputs: int, radius: float, limit: float) -> Property:
    """Y_0 - Y_1 <= limit within `radius` of 0.5."""
    lines = [f"(declare-const X_{i} Real)" for i in range(inputs)]
    lines += [f"(declare-const Y_{j} Real)" for j in range(3)]
    for i in range(inputs):
        lines += [f"(assert (>= X_{i} {0.5 - radius}))", f"(assert (<= X_{i} {0.5 + radius}))"]
    return parse_property("\n".join([*lines, f"(assert (<= (- Y_0 Y_1) {limit}))"]))


@pytest.mark.parametrize("kind", ["Tanh", "Gelu"])
def test_ranges_decide_where_boxes_of_many_inputs_would_not(kind: str) -> None:
    network, radius = network_of(kind, 2, 24), 0.15
    points = np.full((1, 24), 0.5)
    for step in np.linspace(radius, 0.0, 100):  # projected gradient descent
        y, slope = scores_and_gradients(network, points, np.array([[1.0, -1.0, 0.0]]))
        points = np.clip(points - step * np.sign(slope), 0.5 - radius, 0.5 + radius)
    least = float(y[0, 0] - y[0, 1])
    above = verify(network, property_of(24, radius, round(least + 0.01, 4)), time_limit=20)
    below = verify(network, property_of(24, radius, round(least - 0.03, 4)), time_limit=20)
    assert (above.answer, below.answer) == ("sat", "unsat")
    assert below.nodes > 1
