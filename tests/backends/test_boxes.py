"""Distances by halving boxes of the input, against dense samples."""

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

import graphprune as gp
from graphprune.backends.boxes import BoxSearch, few_inputs
from graphprune.backends.boxes.halving import inputs_to_halve
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.ranges import relaxation
from graphprune.errors import UnsupportedError
from graphprune.ir import Query
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import current
from tests.oracles import Perceptron

KINDS = [
    "Tanh",
    "Sigmoid",
    "Softplus",
    "Gelu",
    "Sin",
    "Exp",
    "HardSwish",
    "Elu",
    "Erf",
    "Cos",
    "products",
]
SIDES = {1: 20001, 2: 301}


def network_of(kind: str, seed: int, inputs: int) -> gp.Network:
    """Two layers of a function; a tie at a point of the square."""
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [inputs, 5, 4, 3])
    net.weights[0] *= 2.0
    model = net.model()
    model.opset_import[0].version, model.ir_version = 20, 9
    for node in model.graph.node:
        node.op_type = node.op_type.replace("Relu", kind)
    bias = model.graph.initializer[-1]
    tie = forward64(gp.from_proto(model), rng.uniform(0, 1, (1, inputs)))[0][0]
    shifted = np.frombuffer(bias.raw_data, np.float32) - tie
    bias.raw_data = shifted.astype(np.float32).tobytes()
    return gp.from_proto(model)


def product_of(seed: int, inputs: int) -> gp.Network:
    """A gated layer, and quotients of it."""
    rng = np.random.default_rng(seed)
    tensors = {
        "w": rng.normal(0, 2, (inputs, 3)), "v": rng.normal(0, 2, (inputs, 3)),
        "u": rng.normal(0, 1, (6, 2)),
    }  # fmt: skip
    parts = [
        ("MatMul", "x w", "a"), ("MatMul", "x v", "b"), ("Sigmoid", "b", "g"), ("Mul", "a g", "h"),
        ("Exp", "b", "e"), ("Div", "a e", "q"), ("Concat", "h q", "c"), ("MatMul", "c u", "z"),
        ("Add", "z o", "y"),
    ]  # fmt: skip

    def model(offset: np.ndarray) -> onnx.ModelProto:
        nodes = [helper.make_node(op, read.split(), [out]) for op, read, out in parts]
        nodes[6].attribute.append(helper.make_attribute("axis", 1))
        arrays = [
            numpy_helper.from_array(np.asarray(a, np.float32), n)
            for n, a in (tensors | {"o": offset}).items()
        ]
        x, y = (
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])
            for name, size in (("x", inputs), ("y", 2))
        )
        graph = helper.make_graph(nodes, "gated", [x], [y], arrays)
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])

    tie = forward64(gp.from_proto(model(np.zeros(2))), rng.uniform(0, 1, (1, inputs)))[0][0]
    return gp.from_proto(model(-tie))


def sampled_distance(network: gp.Network, anchor: gp.Anchor) -> float:
    inputs = anchor.x.size
    side = np.linspace(0, 1, SIDES[inputs])
    points = np.stack(np.meshgrid(*[side] * inputs), axis=-1).reshape(-1, inputs)
    other = forward64(network, points)[0].argmax(axis=1) != anchor.label
    return float(np.abs(points[other] - anchor.center).max(axis=1).min(initial=np.inf))


@settings(max_examples=4)
@example("products", 1, 1, 0.3)
@example("products", 2, 2, 0.7)
@example("Sigmoid", 14, 1, 0.75)
@given(
    st.sampled_from(KINDS), st.integers(0, 9999), st.sampled_from([1, 2, 2]), st.floats(0.05, 0.95)
)
def test_the_interval_closes_on_what_samples_show(
    kind: str, seed: int, inputs: int, place: float
) -> None:
    network = product_of(seed, inputs) if kind == "products" else network_of(kind, seed, inputs)
    x = np.full(inputs, place, np.float32)
    anchor = gp.Anchor(x, int(run_original(network, x[None])[0].argmax()))
    expected = sampled_distance(network, anchor)
    found = gp.distance(network, anchor, solver="search", time_limit=20)
    assert found.lower <= expected
    if found.upper is None:
        assert expected == np.inf
        assert (found.status, found.certified) == ("robust", True)
        return
    spacing = 1.0 / (SIDES[inputs] - 1)
    assert expected - spacing <= found.upper or expected == np.inf
    assert found.upper <= expected + spacing
    assert found.certified
    # Where the margin is nearly flat, rounding ends the halving shortly before.
    assert found.status == "exact" or found.upper - found.lower <= 1e-3 * found.upper


@pytest.mark.parametrize("solver", ["search", "auto"])
def test_a_function_that_is_not_defined_everywhere_is_searched_where_it_is(solver: str) -> None:
    """Boxes below 0 stay open: the nearest of them is the proven end."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,1] x) => (float[N,2] y) <float[1] s = {0.25}, float[1,2] w = {1.0, -1.0}> {
          z = Sub (x, s)
          h = Log (z)
          y = MatMul (h, w)
        }"""
    network = gp.from_proto(onnx.parser.parse_model(text))
    found = gp.distance(network, gp.Anchor(np.array([0.75], np.float32), 1), solver=solver)
    assert found.upper is None
    assert found.status == "interval"
    assert 0.499 <= found.lower <= 0.5 + 1e-9


def test_boxes_of_many_inputs_are_not_halved() -> None:
    network = network_of("Tanh", 0, 9)
    anchor = gp.Anchor(np.full(9, 0.5, np.float32), 0)
    query = Query(network, anchor)
    assert not few_inputs(query)
    fixed = np.r_[np.ones(8), 0.5]
    assert few_inputs(Query(network, anchor, gp.Domain(np.r_[np.zeros(8), 0.5], fixed)))
    problem = DistanceProblem(network, anchor, query.domain, 1.0)
    with pytest.raises(UnsupportedError, match="at most 8 inputs"):
        BoxSearch().run(DistanceInterval(problem), current())


def test_a_network_that_no_solver_knows_leaves_attack_and_certificate(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaxation, "worthwhile", lambda *_: False)
    network = network_of("Erf", 0, 9)
    x = np.full(9, 0.5, np.float32)
    anchor = gp.Anchor(x, int(run_original(network, x[None])[0].argmax()))
    found = gp.distance(network, anchor, time_limit=20)
    assert 0.0 < found.lower == pytest.approx(gp.certify(network, anchor).radius, rel=1e-3)
    assert found.upper is None or found.lower <= found.upper
    assert (found.status, found.certified) == ("interval", True)
    (said,) = (record.getMessage() for record in caplog.records)
    assert "attack and certificate: the network is too large" in said
    assert "(Erf): SCIP has no such function" in said
    with pytest.raises(UnsupportedError, match="SCIP has no such function"):
        gp.distance(network, anchor, solver="scip", time_limit=20)


@pytest.mark.parametrize("slope", [np.nan, np.inf, -np.inf, 1e308, 0.0])
def test_an_input_without_a_middle_is_never_halved_whatever_the_gradient_says(slope: float) -> None:
    """A gradient overflows where the network does."""
    lower, upper = np.zeros((1, 3), np.float32), np.array([[0, 0, 1e30]], np.float32)
    whole = np.array([1e-300, 1.0, 1e30])
    for place in range(3):
        slopes = np.zeros((1, 3))
        slopes[0, place] = slope
        assert inputs_to_halve(lower, upper, slopes, whole) == [2]
    assert inputs_to_halve(lower, upper, np.full((1, 3), slope), whole) == [2]
