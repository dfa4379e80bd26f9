"""Gradient, interval and relaxation against samples, differences and published formulas."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune import transforms
from graphprune.bounds import (
    METHODS,
    Boxes,
    Method,
    linear_bounds,
    pre_activation_bounds,
    round_down,
    round_up,
    using_engine,
)
from graphprune.bounds.certify import certified_margins, margin_rows
from graphprune.ir import Query
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import compiled
from graphprune.testing import networks
from graphprune.transforms.replace import Replacement, apply
from tests.canonical.models import model_of, node
from tests.conftest import random_points
from tests.oracles import Perceptron, wong_kolter_margins


@given(networks(), st.integers(0, 1000))
def test_gradient_equals_differences(network: gp.Network, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = random_points(network, 3, seed)
    rows = rng.normal(size=(3, network.classes)).astype(np.float32)
    run = compiled(network, "gradient", lambda: transforms.gradient(network))
    logits, gradient = run({"x": x, "rows": rows})
    assert np.allclose(logits, forward64(network, x)[0], atol=1e-3, rtol=1e-4)
    # Piecewise linear: differences are exact where both points lie in one region.
    step = 1e-7 * rng.normal(size=x.shape)
    both = [forward64(network, x + s * step) for s in (1, -1)]
    same = np.ones(3, dtype=bool)
    for up, down in zip(both[0][1:], both[1][1:], strict=True):
        same &= np.all((up > 0) == (down > 0), axis=tuple(range(1, up.ndim)))
    difference = np.sum((both[0][0] - both[1][0]) / 2 * rows, axis=1)
    analytic = np.sum(gradient * step, axis=tuple(range(1, x.ndim)))
    scale = 1e-7 * (1 + np.abs(gradient).sum())
    assert np.all(np.abs(difference - analytic)[same] <= 1e-4 * scale)


def test_the_interval_of_chosen_numbers_is_exact() -> None:
    """A jump at a whole number that an input is was never decided by bounds of that point."""
    nodes = [node("Gather", "x i", "g", axis=1), node("Floor", "g")]
    network = gp.from_proto(model_of(nodes, ["n", 4], constants={"i": np.array([3, 1])}))
    x = np.array([[1.0, -2.0, 3.0, 7.0]], np.float32)
    with using_engine("graph"):
        (layer,) = pre_activation_bounds(network, Boxes(x, x + 1), "ibp")
    assert layer.lower.tolist() == [[7.0, -2.0]]
    assert layer.upper.tolist() == [[8.0, -1.0]]
    assert layer.magnitude.tolist() == [[8.0, 2.0]]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("method", METHODS)
@given(network=networks(), seed=st.integers(0, 1000), radius=st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_bounds_enclose_samples(
    method: Method, network: gp.Network, seed: int, radius: float
) -> None:
    centres = random_points(network, 2, seed).astype(float)
    balls = [Ball(c, radius) for c in centres]
    boxes = Boxes.of(*balls)
    layers = pre_activation_bounds(network, boxes, method)
    rows = margin_rows(network, 0)
    margins = linear_bounds(network, boxes, layers, rows, method)
    for b, ball in enumerate(balls):
        logits, *zs = forward64(network, samples_in(ball, 60, seed))
        for z, layer in zip(zs, layers, strict=True):
            flat = z.reshape(len(z), -1)
            assert np.all(flat >= layer.lower[b])
            assert np.all(flat <= layer.upper[b])
        assert np.all(logits @ rows.T >= margins[b])


@given(network=networks(), seed=st.integers(0, 1000))
def test_batched_boxes_equal_single_ones(network: gp.Network, seed: int) -> None:
    balls = [Ball(c.astype(float), 0.05) for c in random_points(network, 3, seed)]
    together = pre_activation_bounds(network, Boxes.of(*balls), "crown", every=True)
    for b, ball in enumerate(balls):
        alone = pre_activation_bounds(network, Boxes.of(ball), "crown", every=True)
        for one, all_of_them in zip(alone, together, strict=True):
            assert np.allclose(one.lower[0], all_of_them.lower[b], atol=1e-3, rtol=1e-3)


@given(network=networks(), seed=st.integers(0, 1000))
def test_fastlin_ibp_is_the_better_of_both_in_the_second_layer(
    network: gp.Network, seed: int
) -> None:
    """In layers above, tighter bounds below may move a relaxation either way."""
    boxes = Boxes.of(Ball(random_points(network, 1, seed)[0].astype(float), 0.1))
    ibp, lin, both = (
        pre_activation_bounds(network, boxes, m, every=True)
        for m in ("ibp", "fastlin", "fastlin-ibp")
    )
    for layer in range(min(2, len(both))):
        expected = np.maximum(ibp[layer].lower, lin[layer].lower)
        assert np.allclose(both[layer].lower, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("seed", range(8))
def test_fastlin_margin_is_the_wong_kolter_dual(seed: int) -> None:
    """Recursive Fast-Lin bounds, no input domain: the same number as the published dual."""
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [5, 8, 7, 4])
    network = gp.from_proto(net.model())
    x0 = rng.uniform(0.2, 0.8, 5).astype(np.float32)
    label = int(np.argmax(net.logits(x0.astype(float))))
    for radius in (0.01, 0.1, 0.3):
        expected = wong_kolter_margins(net, x0.astype(float), radius, label)
        domain = gp.Domain(-np.inf, np.inf)
        ours = certified_margins(Query(network, gp.Anchor(x0, label), domain), radius, "fastlin")
        assert np.allclose(ours, expected, rtol=1e-3, atol=1e-3)
        assert np.all(ours <= expected + 1e-9)


@given(network=networks(), seed=st.integers(0, 1000))
def test_bounds_of_replaced_layers_equal_those_of_the_built_network(
    network: gp.Network, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    replaced = {}
    for i, activation in enumerate(network.activations):
        n = network.live(activation).size
        removed = rng.random(n) < 0.5
        replaced[i] = Replacement.nothing(n).with_lines(removed, rng.random(n), rng.random(n))
    ball = Ball(random_points(network, 1, seed)[0].astype(float), 0.1)
    layers = pre_activation_bounds(network, Boxes.of(ball), "crown", replaced=replaced)
    built = apply(network, replaced)
    logits, *zs = forward64(built, samples_in(ball, 60, seed))
    rows = margin_rows(network, 0)
    margins = linear_bounds(network, Boxes.of(ball), layers, rows, replaced=replaced)
    assert np.all(logits @ rows.T >= margins[0])
    kept = [i for i, r in replaced.items() if r.keep.any()]
    for i, z in zip(kept, zs, strict=True):
        assert np.all(z.reshape(len(z), -1) >= layers[i].lower[0])
        assert np.all(z.reshape(len(z), -1) <= layers[i].upper[0])


@pytest.mark.usefixtures("engine")
def test_bounds_survive_huge_and_tiny_weights() -> None:
    """Cancellation and scale: the float32 run is off, its bounds are not."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        net = Perceptron.random(rng, [6, 10, 10, 3])
        scales = [10.0 ** rng.integers(-4, 5, w.shape) for w in net.weights]
        weights = [
            (w * s).astype(np.float32).astype(float)
            for w, s in zip(net.weights, scales, strict=True)
        ]
        network = gp.from_proto(Perceptron(weights, net.biases).model())
        ball = Ball(rng.uniform(0.2, 0.8, 6), 1e-6)
        boxes = Boxes.of(ball)
        for method in METHODS:
            layers = pre_activation_bounds(network, boxes, method)
            margins = linear_bounds(network, boxes, layers, margin_rows(network, 0), method)
            logits, *zs = forward64(network, samples_in(ball, 40, 1))
            for z, layer in zip(zs, layers, strict=True):
                assert np.all((z >= layer.lower[0]) & (z <= layer.upper[0]))
            assert np.all(logits @ margin_rows(network, 0).T >= margins[0])


@given(network=networks(), seed=st.integers(0, 1000))
def test_both_engines_agree(network: gp.Network, seed: int) -> None:
    """The graphs lose a float32 rounding margin, and stop at no layer on the way down."""
    boxes = Boxes.of(*(Ball(c.astype(float), 0.05) for c in random_points(network, 2, seed)))
    rows = margin_rows(network, 0)
    methods: tuple[Method, ...] = ("fastlin", "crown")
    for method in methods:
        found = {}
        for engine in ("compact", "graph"):
            with using_engine(engine):
                layers = pre_activation_bounds(network, boxes, method, every=True)
                found[engine] = layers, linear_bounds(network, boxes, layers, rows, method)
        for one, two in zip(found["compact"][0], found["graph"][0], strict=True):
            scale = 1e-3 * (1 + one.magnitude)
            assert np.all(one.lower >= two.lower - scale)
            assert np.all(one.upper <= two.upper + scale)
        if method == "fastlin":
            assert np.allclose(found["compact"][1], found["graph"][1], atol=1e-2, rtol=1e-3)


@pytest.mark.usefixtures("engine")
def test_overflow_is_refused() -> None:
    weights = [np.full((4, 3), 1e38), np.full((4, 4), 1e38), np.full((2, 4), 1e38)]
    net = Perceptron(weights, [np.zeros(4), np.zeros(4), np.zeros(2)])
    network = gp.from_proto(net.model())
    with pytest.raises(gp.GraphpruneError, match="overflow"):
        pre_activation_bounds(network, Boxes.of(Ball(np.full(3, 0.5), 0.1)), "crown")[0]
        margins = certified_margins(Query(network, gp.Anchor(np.full(3, 0.5, np.float32), 0)), 0.1)
        del margins


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_rounding_to_float32_is_outward_and_tight(numbers: list[float]) -> None:
    x = np.array([*numbers, 0.0, -0.0, 1.0, -1e-46, 1e-46, 1e39, -1e39])
    with np.errstate(over="ignore"):
        near = x.astype(np.float32)
    down = np.where(near > x, np.nextafter(near, np.float32(-np.inf)), near)
    up = np.where(near < x, np.nextafter(near, np.float32(np.inf)), near)
    assert np.array_equal(round_down(x), down)
    assert np.array_equal(round_up(x), up)


@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=5), st.floats(0, 1), st.sampled_from([0, 1e-30])
)
def test_boxes_hold_their_balls(center: list[float], radius: float, scale: float) -> None:
    ball = Ball(np.array(center) * (scale or 1.0), radius * (scale or 1.0), gp.Domain(-1.0, 1.5))
    box = Ball(ball.center, 0.0, gp.Domain(-np.inf, np.inf))
    boxes = Boxes.of(ball, box)
    for i, v in enumerate(ball.center):
        low, high = Fraction(v) - Fraction(ball.radius), Fraction(v) + Fraction(ball.radius)
        assert Fraction(float(boxes.lower[0, i])) <= max(low, Fraction(-1))
        assert Fraction(float(boxes.upper[0, i])) >= min(high, Fraction(3, 2))
        assert (
            Fraction(float(boxes.lower[1, i])) <= Fraction(v) <= Fraction(float(boxes.upper[1, i]))
        )
