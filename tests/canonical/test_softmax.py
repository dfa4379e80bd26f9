"""Bounds of softmaxes and their logarithms: hostile points, masks, scores of any width."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import Boxes, linear_bounds, pre_activation_bounds, using_engine
from graphprune.bounds.protocol import EngineName
from graphprune.region import Ball, Domain
from graphprune.runtime.reference import forward64
from tests.canonical.models import model_of, node

ENGINES: list[EngineName] = ["compact", "graph"]


def network_of(
    op: str, seed: int, count: int, scale: float, masked: bool
) -> tuple[gp.Network, np.ndarray]:
    """Scores (2, count) of three inputs, their softmax, and a layer above; the mask."""
    rng = np.random.default_rng(seed)
    allowed = rng.random((2, count)) < (0.6 if masked else 2.0)
    allowed[:, 0] = True
    constants: dict[str, Any] = {
        "w": (scale * rng.normal(size=(3, 2 * count))).astype(np.float32),
        "s": np.array([-1, 2, count]),
        "m": np.where(allowed, 0.0, -np.inf).astype(np.float32),
        "v": rng.normal(size=(count, 2)).astype(np.float32),
    }
    nodes = [node("MatMul", "x w", "h"), node("Reshape", "h s", "r")]
    nodes += [node("Add", "r m", "z")] if masked else [node("Identity", "r", "z")]
    nodes += [node(op, "z", "p", axis=-1), node("MatMul", "p v", "o"), node("Flatten", "o")]
    return gp.from_proto(model_of(nodes, ["n", 3], constants=constants)), allowed


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["Softmax", "LogSoftmax"]), st.integers(0, 1000), st.integers(2, 7),
    st.sampled_from([0.1, 1.0, 30.0, 1000.0]), st.sampled_from([1e-4, 0.1, 1.0]), st.booleans(),
    st.sampled_from(ENGINES),
)  # fmt: skip
def test_bounds_hold(
    op: str, seed: int, count: int, scale: float, radius: float, masked: bool, engine: EngineName
) -> None:
    masked &= op == "Softmax"
    network, _ = network_of(op, seed, count, scale, masked)
    rng = np.random.default_rng(seed)
    ball = Ball(rng.normal(size=3), radius, Domain(-10, 10))
    x = rng.uniform(ball.lower, ball.upper, (300, 3))
    x[::2] = np.where(rng.random((150, 3)) < 0.5, ball.lower, ball.upper)
    outputs, *values = forward64(network, x)
    rows = np.concatenate([np.eye(4), -np.eye(4), rng.normal(size=(4, 4))])
    least = (outputs @ rows.T).min(axis=0)
    boxes = Boxes.of(ball)
    with using_engine(engine):
        layers = pre_activation_bounds(network, boxes)
        for layer, z in zip(layers, values, strict=True):
            flat = z.reshape(len(x), -1)
            room = 1e-12 * (1.0 + np.abs(flat))  # the scores' own rounding
            assert np.all(layer.lower[0] <= flat + room)
            assert np.all(flat - room <= layer.upper[0])
        for method in ("crown", "alpha-crown"):
            found = linear_bounds(network, boxes, layers, rows, method)[0]
            assert np.all(found <= least + 1e-12 * (1.0 + np.abs(least)))


@pytest.mark.parametrize("engine", ENGINES)
def test_values_of_a_softmax_are_from_0_to_1_on_any_ball(engine: EngineName) -> None:
    """Scores that reach hundreds: exponentials of their own would be beyond all numbers."""
    network, _ = network_of("Softmax", 0, 5, 30.0, False)
    boxes = Boxes.of(Ball(np.zeros(3), 10.0, Domain(-10, 10)))
    with using_engine(engine):
        layers = pre_activation_bounds(network, boxes)
        bounds = linear_bounds(network, boxes, layers, np.concatenate([np.eye(4), -np.eye(4)]))
    assert np.abs(bounds).max() < 30.0


def test_the_logarithm_is_convex_below_and_its_tangents_touch_it() -> None:
    """A sum's logarithm is bounded below as by one tangent, in second order of the radius."""
    network, _ = network_of("LogSoftmax", 3, 6, 1.0, False)
    rng = np.random.default_rng(0)
    center, radius = rng.normal(size=3), 1e-2
    boxes = Boxes.of(Ball(center, radius, Domain(-10, 10)))
    layers = pre_activation_bounds(network, boxes)
    logits = forward64(network, center[None])[0][0]
    rows = np.eye(4)
    step = 1e-6 * np.eye(3)
    slopes = (forward64(network, center + step)[0] - forward64(network, center - step)[0]) / 2e-6
    linear = logits - radius * np.abs(slopes).sum(axis=0)
    assert np.all(linear_bounds(network, boxes, layers, rows)[0] >= linear - 20.0 * radius**2)
