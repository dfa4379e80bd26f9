"""Certificates by spectral norms: sound at samples, and positive wherever the class is clear."""

import logging

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import certify, lipschitz
from graphprune.bounds.certify import certified_radius
from graphprune.bounds.lipschitz import LipschitzBounds, lipschitz_radius
from graphprune.ir import Query
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources
from graphprune.testing import anchors, networks
from tests.canonical.models import model_of, node

NOWHERE = gp.Domain(-np.inf, np.inf)


@given(st.data(), st.sampled_from([1e-9, 1e-4, 0.03, 1.0]), st.sampled_from(["linf", "l2", "l1"]))
def test_margins_on_balls_lose_no_more_than_is_said(
    data: st.DataObject, radius: float, norm: str
) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    query = Query(network, anchor, NOWHERE, gp.region.norm_of(norm))
    bounds = LipschitzBounds(query, Resources())
    losses = bounds.losses(radius)
    rng = np.random.default_rng(0)
    steps = rng.uniform(-1.0, 1.0, (64, *network.input_shape))
    steps[::2] = np.sign(steps[::2])
    steps[::3] *= rng.uniform(size=steps[::3].shape) < 0.2
    lengths = query.norm.lengths(steps).reshape(-1, *(1,) * len(network.input_shape))
    points = anchor.center + radius * steps / np.maximum(lengths, 1e-30)
    logits = forward64(network, points)[0]
    margins = logits[:, [anchor.label]] - logits[:, query.targets]
    # (The samples are rounded too.)
    slack = 1e-11 * (1.0 + np.abs(logits).max())
    assert np.all(margins >= bounds.computed - losses - slack)


@settings(max_examples=20)
@given(st.data())
def test_a_radius_is_certified_wherever_the_class_is_clear(data: st.DataObject) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    query = Query(network, anchor, NOWHERE)
    computed = LipschitzBounds(query, Resources()).computed
    assume(np.all(computed > 1e-6))
    radius = lipschitz_radius(query, Resources(), 1.0)
    assert 0.0 < radius <= 1.0
    found = gp.attack(network, anchor, domain=NOWHERE, effort="fast")
    assert found.distance is None or radius <= found.distance


def test_a_limit_that_ends_everything_leaves_a_radius(
    mnist_a: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = gp.certify(mnist_a, images[0])
    proof = gp.certify(mnist_a, images[0], time_limit=0.0)
    assert (proof.method, proof.stopped) == ("lipschitz", True)
    assert 0.0 < proof.radius < whole.radius
    # A large network has it first, and goes on.
    monkeypatch.setattr(certify, "LARGE", 100)
    assert gp.certify(mnist_a, images[0]).radius == pytest.approx(whole.radius, rel=2e-3)


def query_of(graph: str, rng: np.random.Generator, scale: float = 1.0) -> Query:
    """A network as text of four inputs, with matrices v, w, u and a vector k, at a random point."""
    text = f"""<ir_version: 8, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 3] y) {{
        {graph} }}"""
    model = onnx.parser.parse_model(text)
    for name, shape in (("v", (4, 6)), ("w", (6, 5)), ("u", (5, 3)), ("k", (6,))):
        weight = rng.normal(size=shape).astype(np.float32) * np.float32(scale)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    network = gp.from_proto(model)
    x = rng.uniform(size=4).astype(np.float32)
    label = int(forward64(network, x[None])[0][0].argmax())
    return Query(network, gp.Anchor(x, label), NOWHERE)


@pytest.mark.parametrize("function", ["Sigmoid", "Exp", "HardSwish", "Sin", "LeakyRelu"])
def test_curved_activations_lose_no_more_than_is_said(function: str) -> None:
    rng = np.random.default_rng(0)
    graph = (
        f"a = MatMul(x, v) b = {function}(a) c = MatMul(b, w) d = {function}(c) y = MatMul(d, u)"
    )
    query = query_of(graph, rng, 0.5)
    bounds = LipschitzBounds(query, Resources())
    assert lipschitz_radius(query, Resources(), 1.0) > 0.0
    steps = np.sign(rng.uniform(-1.0, 1.0, (500, 4))) * rng.uniform(0.5, 1.0, (500, 1))
    for radius in (1e-6, 0.01, 0.3):
        logits = forward64(query.network, query.anchor.center + radius * steps)[0]
        margins = logits[:, [query.anchor.label]] - logits[:, query.targets]
        assert np.all(margins >= bounds.computed - bounds.losses(radius) - 1e-12)


PRODUCTS = {
    "gate": "a = MatMul(x, v) g = Sigmoid(a) p = Mul(a, g) b = MatMul(p, w) y = MatMul(b, u)",
    "quotient": "a = MatMul(x, v) e = Exp(a) q = Div(a, e) b = MatMul(q, w) y = MatMul(b, u)",
    "softmax": "a = MatMul(x, v) s = Softmax(a) b = MatMul(s, w) y = MatMul(b, u)",
    "norm": "a = MatMul(x, v) s = LayerNormalization<axis = 1>(a, k) b = MatMul(s, w)"
    " y = MatMul(b, u)",
    "attention": "a = MatMul(x, v) shape = Constant<value = int64[3] {-1, 2, 3}>()"
    " r = Reshape(a, shape) t = Transpose<perm = [0, 2, 1]>(r) q = MatMul(r, t)"
    " s = Softmax(q) m = MatMul(s, r) back = Constant<value = int64[2] {-1, 6}>()"
    " f = Reshape(m, back) b = MatMul(f, w) y = MatMul(b, u)",
}


@pytest.mark.parametrize("entries", [lipschitz.ENTRIES, 0])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_lose_no_more_than_is_said(
    name: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lipschitz, "ENTRIES", entries)
    rng = np.random.default_rng(0)
    query = query_of(PRODUCTS[name], rng)
    bounds = LipschitzBounds(query, Resources())
    assert 0.0 < lipschitz_radius(query, Resources(), 1.0) < 1.0
    steps = np.sign(rng.uniform(-1.0, 1.0, (500, 4))) * rng.uniform(0.5, 1.0, (500, 1))
    finite = 0
    for radius in (1e-9, 1e-6, 1e-3, 0.01, 0.1):
        logits = forward64(query.network, query.anchor.center + radius * steps)[0]
        margins = logits[:, [query.anchor.label]] - logits[:, query.targets]
        try:
            with np.errstate(all="ignore"):
                losses = bounds.losses(radius)
        except ArithmeticError:
            continue
        assert np.all(margins >= bounds.computed - losses - 1e-12)
        finite += bool(np.all(losses < 1.0))
    assert finite >= 2


def test_hundreds_of_millions_of_products_cost_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [node("Sigmoid", "x", "s"), node("Gemm", "x w", "g"), node("Mul", "s g")]
    weights = {"w": np.array([[1, 2], [3, -1]], np.float32)}
    network = gp.from_proto(model_of(nodes, ["n", 2], constants=weights))
    query = Query(network, gp.Anchor(np.full(2, 0.5, np.float32), 0), NOWHERE)
    monkeypatch.setattr(lipschitz, "LipschitzBounds", None)
    assert lipschitz_radius(query, Resources(memory=100), 1.0) == 0.0
    with caplog.at_level(logging.WARNING, logger="graphprune"):
        found = certified_radius(query, Resources(memory=100, deadline=0.0))
    assert found.radius == 0.0
    assert "would take 704 bytes for this network's products: more than" in caplog.text
