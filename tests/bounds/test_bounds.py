"""Bounds against exact rational arithmetic, in every norm, and what optimising slopes gains."""

from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import (
    METHODS,
    Ascent,
    Boxes,
    LayerBounds,
    Method,
    linear_bounds,
    optimised_bounds,
    pre_activation_bounds,
    using_engine,
)
from graphprune.bounds.certify import certified_margins, margin_rows
from graphprune.errors import OutOfTimeError
from graphprune.functions import Silu
from graphprune.ir import Query
from graphprune.region import NORMS, Ball, Norm
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources, using
from graphprune.runtime.session import Executable, Resident
from graphprune.testing import assert_encloses, networks
from tests.canonical.models import model_of, node
from tests.conftest import random_points
from tests.oracles import Perceptron

FREE = gp.Domain(-np.inf, np.inf)
ENGINES: tuple[Literal["compact", "graph"], ...] = ("compact", "graph")
ROUND_NORMS = tuple(norm for norm in NORMS.values() if not norm.separable)


def exact_forward(net: Perceptron, x: np.ndarray) -> list[list[Fraction]]:
    """Pre-activations and logits without any rounding."""
    h = [Fraction(float(v)) for v in x]
    values = []
    for weight, bias in zip(net.weights, net.biases, strict=True):
        z = [
            sum((Fraction(float(w)) * v for w, v in zip(row, h, strict=True)), Fraction(float(b)))
            for row, b in zip(weight, bias, strict=True)
        ]
        values.append(z)
        h = [max(v, Fraction(0)) for v in z]
    return values


def hostile(rng: np.random.Generator, kind: str) -> Perceptron:
    """Weights that make float32 and float64 sums go wrong."""
    net = Perceptron.random(rng, [4, 6, 5, 3])
    weights = []
    for w in net.weights:
        if kind == "scales":
            w = w * 10.0 ** rng.integers(-6, 7, w.shape)
        elif kind == "cancelling":
            # Neighbouring columns nearly cancel: results are rounding errors of the terms.
            w = w * 1e6
            w[:, 1::2] = -w[:, : w.shape[1] // 2 * 2 : 2] * (
                1 + 1e-7 * rng.normal(size=(len(w), 1))
            )
        elif kind == "tiny":
            w = w * 1e-20
        elif kind == "denormal":
            w = w * 1e-41
        weights.append(w.astype(np.float32).astype(float))
    biases = [b * (1e-20 if kind in ("tiny", "denormal") else 1.0) for b in net.biases]
    return Perceptron(weights, [b.astype(np.float32).astype(float) for b in biases])


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("kind", ["plain", "scales", "cancelling", "tiny", "denormal"])
def test_no_bound_is_violated_in_exact_arithmetic(kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    rows = np.array([[1.0, -1.0, 0.0], [1.0, 0.0, -1.0]])
    for _ in range(4):
        net = hostile(rng, kind)
        network = gp.from_proto(net.model())
        ball = Ball(rng.uniform(0.2, 0.8, 4), float(rng.choice([0.0, 1e-7, 0.1])))
        boxes = Boxes.of(ball)
        corner = rng.integers(0, 2, (12, 4)).astype(bool)
        points = np.where(corner, ball.lower, ball.upper)
        values = [exact_forward(net, x) for x in points]
        for method in METHODS:
            layers = pre_activation_bounds(network, boxes, method, every=True)
            margins = linear_bounds(network, boxes, layers, rows, method)[0]
            if method == "alpha-crown":
                layers = optimised_bounds(network, boxes, layers)
            for *zs, logits in values:
                for layer, z in zip(layers, zs, strict=True):
                    for i, v in enumerate(z):
                        assert Fraction(float(layer.lower[0, i])) <= v
                        assert v <= Fraction(float(layer.upper[0, i]))
                assert Fraction(margins[0]) <= logits[0] - logits[1]
                assert Fraction(margins[1]) <= logits[0] - logits[2]


@pytest.mark.parametrize("weight", [np.inf, np.nan])
def test_weights_that_are_no_numbers_give_a_refusal(weight: float) -> None:
    net = Perceptron([np.full((2, 2), weight), np.eye(2)], [np.zeros(2), np.zeros(2)])
    with pytest.raises(gp.GraphpruneError):
        network = gp.from_proto(net.model())
        certified_margins(Query(network, gp.Anchor(np.full(2, 0.5, np.float32), 0), FREE), 0.1)


def points_of_ball(ball: Ball, count: int, seed: int) -> np.ndarray:
    """Points of the ball and the domain, many of them on the sphere."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(count, *ball.center.shape))
    if ball.norm == "l1":  # few coordinates: vertices and edges
        steps *= rng.random(steps.shape) < 0.3
    scale = np.maximum(ball.norm.lengths(steps), 1e-12)
    shape = (-1, *(1 for _ in ball.center.shape))
    factor = ball.radius * rng.choice([0.5, 1.0], count) * (1 - 1e-12)
    steps = steps / scale.reshape(shape) * factor.reshape(shape)
    return np.clip(ball.center + steps, ball.domain.low, ball.domain.high)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("norm", ROUND_NORMS)
@settings(max_examples=10)
@given(network=networks(), seed=st.integers(0, 1000), radius=st.sampled_from([0.01, 0.3]))
def test_bounds_hold_on_round_balls(
    norm: Norm, network: gp.Network, seed: int, radius: float
) -> None:
    center = random_points(network, 1, seed)[0].astype(float)
    ball = Ball(center, radius, norm=norm)
    boxes, rows = Boxes.of(ball), margin_rows(network, 0)
    logits, *zs = forward64(network, points_of_ball(ball, 60, seed))
    methods: tuple[Method, ...] = ("crown", "alpha-crown")
    for method in methods:
        layers = pre_activation_bounds(network, boxes, method)
        for z, layer in zip(zs, layers, strict=True):
            flat = z.reshape(len(z), -1)
            assert np.all((flat >= layer.lower[0]) & (flat <= layer.upper[0]))
        margins = linear_bounds(network, boxes, layers, rows, method)[0]
        assert np.all(logits @ rows.T >= margins)


@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.03), ("l2", 0.3), ("l1", 1.0)])
@pytest.mark.parametrize("method", ["crown", "alpha-crown"])
def test_both_engines_find_the_same_margins(
    norm: Norm, radius: float, method: Method, mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    """But for the graphs' rounding margin, and where an ascent on |a| goes its own way."""
    boxes = Boxes.of(*(Ball(a.x.astype(float), radius, norm=norm) for a in images[:2]))
    rows = margin_rows(mnist_a, images[0].label)
    layers = pre_activation_bounds(mnist_a, boxes, method)
    found = []
    for name in ENGINES:
        with using_engine(name):
            found.append(linear_bounds(mnist_a, boxes, layers, rows, method))
    compact, graph = found
    assert np.all(np.abs(graph - compact) <= 0.3 + 0.02 * np.abs(compact))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_the_radius_of_a_linear_classifier_is_its_distance(norm: Norm, dual: float) -> None:
    rng = np.random.default_rng(3)
    net = Perceptron.random(rng, [6, 2])
    x = rng.uniform(0.3, 0.7, 6).astype(np.float32)
    logits = net.logits(x.astype(float))
    label = int(np.argmax(logits))
    row = net.weights[0][label] - net.weights[0][1 - label]
    distance = (logits[label] - logits[1 - label]) / np.linalg.norm(row, dual)
    network = gp.from_proto(net.model())
    proof = gp.certify(network, gp.Anchor(x, label), domain=FREE, norm=norm)
    assert 0.998 * distance <= proof.radius <= distance


@pytest.mark.parametrize("norm", ROUND_NORMS)
def test_the_domain_cuts_the_ball(norm: Norm, mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    """Dark pixels cannot get darker: the ball within the domain has more room."""
    cut = gp.certify(mnist_a, images[0], norm=norm).radius
    free = gp.certify(mnist_a, images[0], norm=norm, domain=FREE).radius
    assert cut > 1.02 * free
    assert cut > gp.certify(mnist_a, images[0]).radius


@pytest.mark.usefixtures("engine")
def test_optimised_slopes_gain(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    for anchor in images[:3]:
        crown, alpha = (
            certified_margins(Query(mnist_a, anchor), 0.05, method)
            for method in ("crown", "alpha-crown")
        )
        assert np.all(alpha >= crown)
        assert alpha.min() > crown.min() + 0.2


@pytest.mark.usefixtures("engine")
def test_optimised_slopes_tighten_the_layers(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    ball = Ball(images[0].x.astype(np.float64), 0.05)
    crown = pre_activation_bounds(mnist_a, Boxes.of(ball))
    tighter = optimised_bounds(mnist_a, Boxes.of(ball), crown)
    assert_encloses(mnist_a, tighter, ball)
    for before, after in zip(crown, tighter, strict=True):
        assert np.all((after.lower >= before.lower) & (after.upper <= before.upper))
    last = [layers[-1].upper - layers[-1].lower for layers in (crown, tighter)]
    assert last[1].sum() < 0.97 * last[0].sum()


def test_no_step_of_the_graphs_brings_a_tensor_back(
    monkeypatch: pytest.MonkeyPatch, mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    """Only the best bounds are read, when all steps are done."""
    boxes = Boxes.of(Ball(images[0].x.astype(float), 0.03))
    layers = pre_activation_bounds(mnist_a, boxes)
    events: list[str] = []
    step, read = Executable.resident, Resident.numpy

    def noted_step(self: Executable, feeds: Any) -> list[Resident]:
        events.append("step")
        assert all(isinstance(value, Resident) for value in feeds.values())
        return step(self, feeds)

    def noted_read(self: Resident) -> Any:
        events.append("read")
        return read(self)

    monkeypatch.setattr(Executable, "resident", noted_step)
    monkeypatch.setattr(Resident, "numpy", noted_read)
    with using_engine("graph"):
        linear_bounds(
            mnist_a, boxes, layers, margin_rows(mnist_a, 0), "alpha-crown", ascent=Ascent(7)
        )
    assert events == ["step"] * 7 + ["read"]


def test_bounds_of_an_outer_ball_help(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    """They are taken where better; what is stable on the larger ball is not bounded again."""
    center = images[0].x.astype(float)
    inner, outer = (Boxes.of(Ball(center, r)) for r in (0.03, 0.04))
    alone = pre_activation_bounds(mnist_a, inner)
    around = pre_activation_bounds(mnist_a, outer)
    both = pre_activation_bounds(mnist_a, inner, outer=around)
    for one, two, three in zip(alone, around, both, strict=True):
        assert np.all(three.lower >= two.lower)
        assert np.all(three.upper <= two.upper)
        assert three.unstable.sum() <= one.unstable.sum()


def test_a_small_memory_splits_the_batch(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    boxes = Boxes.of(*(Ball(a.x.astype(float), 0.02) for a in images[:5]))
    rows = margin_rows(mnist_a, 0)
    found = []
    for memory in (2 << 30, 2 << 20):
        with using(Resources(memory=memory)), using_engine("compact"):
            layers = pre_activation_bounds(mnist_a, boxes)
            found.append((layers, linear_bounds(mnist_a, boxes, layers, rows)))
    (whole, margins), (parts, same) = found
    assert np.array_equal(margins, same)
    for one, two in zip(whole, parts, strict=True):
        assert np.array_equal(one.lower, two.lower)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("op", ["Sigmoid", "Tanh", "Softplus", "Gelu"])
def test_smooth_neurons_are_tightened_whatever_their_sign(op: str) -> None:
    """A ReLU of a positive pre-activation is its input; a smooth activation gains by a row."""
    rng = np.random.default_rng(0)
    sizes = {"w": (4, 6), "v": (6, 6), "u": (6, 2)}
    constants = {k: rng.normal(size=shape).astype(np.float32) for k, shape in sizes.items()}
    constants["high"] = np.full(6, 9.0, np.float32)
    nodes = [node("MatMul", "x w", "a"), node(op, "a", "h"), node("MatMul", "h v", "b"),
             node("Add", "b high", "c"), node(op, "c", "k"), node("MatMul", "k u")]  # fmt: skip
    network = gp.from_proto(model_of(nodes, ["n", 4], constants=constants, opset=20))
    ball = Ball(np.full(4, 0.5), 0.05, FREE)
    found: dict[Method, LayerBounds] = {}
    methods: tuple[Method, ...] = ("ibp", "crown", "fastlin-ibp")
    for method in methods:
        layers = pre_activation_bounds(network, Boxes.of(ball), method)
        assert_encloses(network, layers, ball)
        found[method] = layers[1]
        if method == "crown":
            optimised = optimised_bounds(network, Boxes.of(ball), layers)
            assert_encloses(network, optimised, ball)
            assert np.sum(optimised[1].upper - optimised[1].lower) < np.sum(
                layers[1].upper - layers[1].lower
            )
    box, *relaxed = found.values()
    assert np.all(box.lower > 0)
    for tight in relaxed:
        assert np.mean((tight.upper - tight.lower) / (box.upper - box.lower)) < 0.85
        assert np.all((tight.lower >= box.lower) & (tight.upper <= box.upper))


@settings(max_examples=30)
@given(st.data())
def test_bounds_that_a_deadline_ends_hold(data: st.DataObject) -> None:
    """What time is too short for is as wide as interval arithmetic makes it."""
    network = data.draw(networks())
    method = data.draw(st.sampled_from([m for m in METHODS if m != "ibp"]))
    middle = np.full(network.input_shape, 0.45)
    ball = Ball(middle, 0.15, gp.Domain())
    boxes, rows = Boxes.of(ball), np.eye(network.classes)
    logits = forward64(network, random_points(network, 40, low=0.31, high=0.59))[0]
    for engine in ENGINES:
        with using_engine(engine), using(Resources(deadline=0.0)):
            layers = pre_activation_bounds(network, boxes, method)
            below = linear_bounds(network, boxes, layers, rows, method)
        assert_encloses(network, layers, ball)
        assert np.all(logits >= below[0] - 1e-9)


def test_lines_of_many_curved_neurons_are_found_part_by_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same lines, and the clock is looked at between the parts: millions took minutes."""
    rng = np.random.default_rng(0)
    low, high = np.sort(rng.normal(0, 2, (2, 3, 10)), axis=0).astype(np.float32)
    whole = LayerBounds(low, high, high).lines(Silu(), "crown")
    monkeypatch.setattr("graphprune.bounds.problem.LINES_AT_ONCE", 4)
    parts = LayerBounds(low, high, high).lines(Silu(), "crown")
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one, other)
    with using(Resources(deadline=0.0)), pytest.raises(OutOfTimeError):
        LayerBounds(low, high, high).lines(Silu(), "crown")
