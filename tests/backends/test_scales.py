"""Distances of networks whose layers differ in scale by many powers of ten."""

import numpy as np
import pytest

import graphprune as gp
from tests.oracles import Perceptron, brute_force_distance

# Powers of ten that a layer's weights are multiplied by.
SCALES = [(0, 16, -16), (9, 9, 9), (8, -8, 9), (-6, 18, 3), (6, 6, 6), (-8, 4, 8)]


def scaled(seed: int, powers: tuple[int, ...]) -> tuple[Perceptron, gp.Network, gp.Anchor]:
    """A network of weights that cancel, and an anchor with its own label."""
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [3, 4, 4, 2])
    size = 1.0
    for w, b, power in zip(net.weights, net.biases, powers, strict=True):
        w *= 10.0**power
        size *= 10.0**power
        b *= size
        w[...], b[...] = w.astype(np.float32), b.astype(np.float32)
    x = rng.uniform(0.2, 0.8, 3).astype(np.float32)
    label = int(np.argmax(net.logits(x.astype(float))))
    return net, gp.from_proto(net.model()), gp.Anchor(x, label)


@pytest.mark.parametrize("powers", SCALES, ids=str)
@pytest.mark.parametrize("solver", ["search", "scip", "auto"])
def test_no_scale_is_too_bad_for_an_interval(solver: str, powers: tuple[int, ...]) -> None:
    net, network, anchor = scaled(sum(powers), powers)
    expected = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    found = gp.distance(network, anchor, solver=solver, time_limit=10)
    assert found.lower <= expected * (1 + 1e-5)
    if np.isfinite(expected) and found.upper is not None:
        assert found.upper >= expected * (1 - 1e-5)
