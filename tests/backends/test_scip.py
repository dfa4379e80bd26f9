"""The MILP against brute force, and the interval it must always give."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.scip import backend, formulate
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.clock import processor_seconds
from graphprune.evaluate.warm import warm_up
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball
from graphprune.runtime.reference import forward64
from graphprune.testing import anchors, networks
from tests.conftest import Floor
from tests.drawn import labelled
from tests.oracles import Perceptron, brute_force_distance


@settings(max_examples=25)
@given(
    labelled([2, 4, 2], [1, 5, 2], [3, 3, 3, 3], [2, 4, 4, 2], [4, 2, 2, 2, 3]),
    st.sampled_from([(0.0, 1.0), (-np.inf, np.inf)]),
)
def test_equals_brute_force_over_activation_patterns(
    floor: Floor, drawn: tuple[Perceptron, gp.Network, gp.Anchor], box: tuple[float, float]
) -> None:
    net, network, anchor = drawn
    domain = gp.Domain(*box)
    expected = brute_force_distance(net, anchor.x.astype(float), anchor.label, *box)
    floor.checked(np.isfinite(expected) and expected < 500, least=8)
    result = gp.distance(network, anchor, domain=domain, solver="scip", time_limit=60)
    if np.isfinite(expected) and expected < 500:
        assert result.upper is not None
        assert result.upper == pytest.approx(expected, rel=2e-4, abs=2e-6)
        assert result.lower == pytest.approx(expected, rel=2e-4, abs=2e-6)
        assert result.status == "exact"
        assert result.lower <= expected * (1 + 1e-5) + 1e-7
    elif box == (0.0, 1.0):
        assert result.status == "robust"


@given(network=networks(), seed=st.integers(0, 1000))
def test_condensed_rows_equal_the_network_on_the_ball(
    floor: Floor, network: gp.Network, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ball = Ball(rng.uniform(0.2, 0.8, network.input_shape), 0.1)
    layers = pre_activation_bounds(network, Boxes.of(ball))
    boxes = bounds_of(layers)
    condensed = condense(network, boxes, ball)
    for x in samples_in(ball, 10, seed):
        logits, *zs = forward64(network, x[None])
        basis = x.reshape(-1)
        for layer, bounds, activation, z in zip(
            condensed.layers, layers, network.activations, zs, strict=True
        ):
            unstable = np.flatnonzero(bounds.unstable[0] & network.live(activation))
            own = layer.rows @ basis + layer.offset
            floor.checked(len(own), least=100)
            assert sorted(layer.neurons) == unstable.tolist()
            assert np.allclose(own, z.reshape(-1)[layer.neurons])
            basis = np.concatenate([basis, np.maximum(own, 0)])
        assert np.allclose(condensed.logits @ basis + condensed.offset, logits[0])


@settings(max_examples=15)
@given(st.data())
def test_order_of_the_three_distances(data: st.DataObject) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    adv, rob = gp.attack(network, anchor, effort="fast"), gp.certify(network, anchor)
    result = gp.distance(network, anchor, known_attack=adv, known_certificate=rob, time_limit=20)
    assert rob.radius <= result.lower
    if result.upper is not None:
        assert result.lower <= result.upper
        assert adv.distance is None or result.upper <= adv.distance
        assert result.witness is not None
        assert result.witness.distance == result.upper


def test_exact_on_a_real_image(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    result = gp.distance(tiny, images[0], solver="scip", time_limit=60)
    assert result.status == "exact"
    assert not result.certified
    again = gp.distance(tiny, images[0], radius=0.9 * result.lower, time_limit=60)
    assert (again.status, again.upper) == ("robust", None)
    assert again.lower == pytest.approx(0.9 * result.lower)
    wide = gp.distance(tiny, images[0], radius=2 * result.lower, time_limit=60)
    assert wide.status == "exact"
    assert wide.upper == pytest.approx(result.upper, rel=2e-4)


@pytest.mark.parametrize("limit", [0.0, 1.0, 3.0])
def test_time_limits_are_obeyed_with_an_honest_interval(
    mnist_a: gp.Network, images: list[gp.Anchor], limit: float
) -> None:
    warm_up()  # kernels are made ready before the clock of a limit starts
    start = processor_seconds()
    result = gp.distance(mnist_a, images[0], time_limit=limit)
    assert processor_seconds() - start < limit + 2.0
    assert result.status == "interval"
    assert result.upper is None or result.lower <= result.upper


def test_published_distances(truth) -> None:  # type: ignore[no-untyped-def]
    """MIPVerify's generated network, its targeted distance over all targets."""
    import json

    expected = json.loads((truth / "tiny/gen_expected.json").read_text())
    data = np.load(truth / "tiny/gen_inputs.npz")
    network = gp.load(truth / "tiny/gen_masked_mlp.onnx")
    want = expected["gen_masked_mlp"]
    x = data["mlp_x"].reshape(network.input_shape)
    result = gp.distance(network, gp.Anchor(x, want["label"]), time_limit=60)
    assert result.status == "exact"
    assert result.lower <= want["targeted_linf"]["0"] * (1 + 1e-5)


def test_large_weights_do_not_leave_the_optimum_without_a_point() -> None:
    """SCIP's tolerances grow with pre-activations of 1e7: its optimum only touches the boundary."""
    rng = np.random.default_rng(7)
    widths = [4, 8, 6, 3]
    weights, biases = [], []
    for n, m in pairwise(widths):
        weights.append(rng.normal(0, 1.5 / np.sqrt(n), (m, n)))
        biases.append(rng.normal(0, 0.1, m))
    for k in (0, 1):
        weights[k] *= 1e4
    net = Perceptron(weights, biases)
    x = np.random.default_rng(0).uniform(0.1, 0.9, (4, 4))[2].astype(np.float32)
    anchor = gp.Anchor(x, int(np.argmax(net.logits(x.astype(float)))))
    free = gp.Domain(-np.inf, np.inf)
    result = gp.distance(gp.from_proto(net.model()), anchor, domain=free, solver="scip")
    # The margin of 0.08 is what terms of 1e7 leave: SCIP's word is not taken for an end.
    assert result.status == "interval"
    # By brute force over its activation patterns, which takes two minutes.
    assert result.upper == pytest.approx(0.292665547516, rel=2e-4)
    assert result.lower <= 0.292665547516 * (1 + 1e-5)


def test_an_optimum_that_convinces_is_not_looked_at_again(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def noted(*arguments, strict=0.0, **others):  # type: ignore[no-untyped-def]
        asked.append(strict)
        return original(*arguments, strict=strict, **others)

    original = formulate.formulate
    monkeypatch.setattr(backend, "formulate", noted)
    result = gp.distance(tiny, images[0], solver="scip")
    assert result.status == "exact"
    assert asked
    assert not any(asked)
