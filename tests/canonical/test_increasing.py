"""Increasing functions above the scores: cut, kept in written files, and inverted."""

from math import inf, isfinite
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

import graphprune as gp
from graphprune.canonical.increasing import INCREASING, attributes_of
from graphprune.runtime.original import run_file, run_original
from graphprune.runtime.session import Executable
from tests.canonical.models import model_of, node

RNG = np.random.default_rng(3)
WEIGHTS = {"w": RNG.normal(size=(4, 5)), "v": RNG.normal(size=(5, 3))}
SCORES = [node("MatMul", "x w", "a"), node("Relu", "a", "h"), node("MatMul", "h v", "z")]
CONSTANTS = {k: v.astype(np.float32) for k, v in WEIGHTS.items()} | {
    "half": np.array(0.5, np.float32), "minus": np.array([-2.0], np.float32),
}  # fmt: skip
# Operators from the scores upward; all together increase.
TAILS = {
    "sigmoid": ["Sigmoid"],
    "tanh": ["Tanh"],
    "softplus": ["Softplus"],
    "leaky": ["LeakyRelu"],
    "log of a sigmoid": ["Sigmoid", "Log"],
    "log of a sigmoid by softplus": ["Neg", "Softplus", "Neg"],
    "scaled and moved": ["Tanh", "Mul half", "Add half"],
    "negative twice": ["Mul minus", "Softsign", "Mul minus"],
    "from above": ["Sigmoid", "Rest half"],
    "elu of an exponential": ["Exp", "Elu"],
    "softmax of a sigmoid": ["Sigmoid", "Softmax"],
}
DECREASING = ("from above",)
WITH_ALPHA = ("LeakyRelu", "Elu", "Celu")


def with_tail(tail: list[str]) -> onnx.ModelProto:
    nodes, last = list(SCORES), "z"
    for k, item in enumerate(tail):
        op, *other = item.split()
        name = "y" if k == len(tail) - 1 else f"t{k}"
        inputs = f"{other[0]} {last}" if op == "Rest" else " ".join([last, *other])
        nodes.append(node("Sub" if op == "Rest" else op, inputs, name))
        last = name
    return model_of(nodes, ["n", 4], constants=CONSTANTS)


@pytest.mark.parametrize("name", TAILS)
def test_what_increases_is_cut_and_written_again(name: str) -> None:
    model = with_tail(TAILS[name])
    network = gp.from_proto(model)
    x = RNG.normal(size=(7, 4)).astype(np.float32)
    (expected,) = Executable(model)({"x": x})
    if name in DECREASING:
        assert network.source.output_name == "y"
        return
    assert network.source.output_name == "z"
    assert network.piecewise_linear
    np.testing.assert_array_equal(run_original(network, x).argmax(1), expected.argmax(1))
    np.testing.assert_array_equal(run_file(network, x), expected)
    written = gp.to_proto(network)
    np.testing.assert_allclose(Executable(written)({"x": x})[0], expected, rtol=2e-6, atol=1e-6)
    assert gp.from_proto(written).source.output_name != written.graph.output[0].name


def test_sums_alone_stay_and_what_may_be_negative_has_no_logarithm() -> None:
    for tail in (["Mul half", "Add half"], ["Log"], ["Neg"], ["Sigmoid", "Neg"]):
        try:
            network = gp.from_proto(with_tail(tail))
        except gp.GraphpruneError:
            assert tail == ["Log"]
        else:
            assert network.source.output_name == "y"


def test_saturated_sigmoids_do_not_tie() -> None:
    """The boundary is the scores'; in float32 the file's two outputs are both 1 around it."""
    constants = {"w": np.array([[1.0, 0.0]], np.float32), "b": np.array([40.0, 40.3], np.float32)}
    nodes = [node("Gemm", "x w b", "z"), node("Sigmoid", "z", "y")]
    network = gp.from_proto(model_of(nodes, ["n", 1], constants=constants))
    anchor = gp.Anchor(np.array([0.5], np.float32), 0)
    found = gp.distance(network, anchor)
    assert found.status == "exact"
    assert found.upper == pytest.approx(0.2, rel=1e-4)


@given(st.sampled_from(sorted(INCREASING)), st.floats(-20, 20), st.floats(0.01, 2.0))
def test_inverses(name: str, x: float, alpha: float) -> None:
    attributes: dict[str, Any] = {"alpha": alpha} if name in WITH_ALPHA else {}
    x = abs(x) + 1e-3 if name == "Log" else x
    made = onnx.helper.make_node(name, ["x"], ["y"], **attributes)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([made], "one", [value("x", 11, [1])], [value("y", 11, [1])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])
    (values,) = ReferenceEvaluator(model).run(None, {"x": np.array([x])})
    y = float(np.asarray(values).item())
    known = INCREASING[name]
    assert known.applies(attributes_of(made))
    back = known.inverse(y, attributes_of(made))
    # Where the function is flat in floating point, only the side is known.
    if isfinite(back) and abs(x) < 5:
        assert back == pytest.approx(x, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "ends"), [("Sigmoid", (0, 1)), ("Tanh", (-1, 1)), ("Exp", (0, 9))]
)
def test_beyond_the_values_there_is_no_number(name: str, ends: tuple[float, float]) -> None:
    inverse = INCREASING[name].inverse
    assert inverse(ends[0], {}) == -inf
    assert inverse(ends[1], {}) == inf or name == "Exp"
