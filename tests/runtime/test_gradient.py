"""Scores and gradients at points, flat or shaped."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.runtime.gradient import scores_and_gradients
from tests.oracles import Perceptron


@settings(max_examples=20)
@given(st.integers(0, 9999))
def test_gradients_are_those_of_the_rows(seed: int) -> None:
    """Compare with the active weights of a small network, in float64."""
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [3, 5, 2])
    network = gp.from_proto(net.model())
    points, rows = rng.uniform(-1, 1, (4, 3)), rng.normal(size=(4, 2))
    scores, slopes = scores_and_gradients(network, points, rows)
    for x, row, score, slope in zip(points, rows, scores, slopes, strict=True):
        x = x.astype(np.float32).astype(np.float64)
        hidden = net.weights[0] @ x + net.biases[0]
        if np.min(np.abs(hidden)) < 1e-5:
            continue
        np.testing.assert_allclose(score, net.logits(x), rtol=1e-4, atol=1e-5)
        expected = row @ net.weights[1] @ ((hidden > 0)[:, None] * net.weights[0])
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5)
