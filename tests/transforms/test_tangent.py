"""The linearisation at a point, against differences and against itself."""

from functools import partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune import transforms
from graphprune.ir.network import pre_activation, sample_shape
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import compiled
from graphprune.testing import networks
from tests.conftest import random_points
from tests.oracles import Perceptron


def _at(network: gp.Network, x: np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    run = compiled(network, "linearise", lambda: transforms.linearise(network))
    return dict(zip(run.outputs, run({"x": x, "rows": rows}), strict=True))


@given(networks(), st.integers(0, 1000))
def test_tangent_and_cotangent_are_the_network_on_one_region(
    network: gp.Network, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = random_points(network, 1, seed)
    rows = rng.normal(size=(1, network.classes)).astype(np.float32)
    here = _at(network, x, rows)
    slopes = {name: a for name, a in here.items() if name.startswith("slope")}
    direction = rng.normal(size=x.shape).astype(np.float32)
    push = compiled(network, "tangent", lambda: transforms.tangent(network))
    pushed = dict(zip(push.outputs, push({"direction": direction, **slopes}), strict=True))

    assert np.allclose(
        np.sum(pushed["logits"] * rows), np.sum(here["gradient"] * direction), atol=1e-3, rtol=1e-3
    )
    for i, activation in enumerate(network.activations):
        z = pre_activation(activation)
        pull = compiled(network, ("cotangent", i), partial(transforms.cotangent, network, i))
        weights = rng.normal(size=(2, *sample_shape(z))).astype(np.float32)
        pulled = pull({"rows": weights, **slopes})[0]
        for row, gradient in zip(weights, pulled, strict=True):
            want = np.sum(row * pushed[f"z{i}"][0])
            assert np.allclose(np.sum(gradient * direction[0]), want, atol=1e-3, rtol=1e-3)

    step = 1e-7 * direction.astype(float)
    lower, upper = forward64(network, x - step), forward64(network, x + step)
    same = all(np.all((a > 0) == (b > 0)) for a, b in zip(lower[1:], upper[1:], strict=True))
    if same:
        for i in range(len(network.activations)):
            change = (upper[1 + i] - lower[1 + i]) / 2e-7
            assert np.allclose(pushed[f"z{i}"], change, atol=1e-3, rtol=1e-3)


def test_weights_are_derivatives_with_respect_to_activations() -> None:
    net = Perceptron.random(np.random.default_rng(0), [5, 4, 3, 2])
    x = np.random.default_rng(1).uniform(0, 1, (1, 5)).astype(np.float32)
    here = _at(gp.from_proto(net.model()), x, np.array([[1.0, -1.0]], np.float32))
    last = net.weights[2][0] - net.weights[2][1]
    assert np.allclose(here["weight1"][0], last, atol=1e-6)
    first = (here["slope1"][0] * last) @ net.weights[1]
    assert np.allclose(here["weight0"][0], first, atol=1e-6)
    assert set(np.unique(here["slope0"])) <= {0.0, 1.0}
