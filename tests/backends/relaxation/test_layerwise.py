"""Bounds of all neurons side by side: what points give lies between them, and steps gain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

import graphprune as gp
from graphprune.backends.relaxation import layerwise, row_blocks
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.relaxation.layerwise import LayerwiseBounds
from graphprune.backends.relaxation.row_blocks import RowBlocks
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.errors import OutOfTimeError
from graphprune.ir import Query
from graphprune.region import Ball
from graphprune.runtime.reference import forward64, pre_activations
from graphprune.runtime.resources import current, using
from graphprune.testing import anchors, networks
from tests.oracles import Perceptron


@given(st.integers(0, 1 << 30), st.sampled_from([0.0, 0.3, 2.0]))
def test_blocks_are_the_matrix(seed: int, picked: float) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(7, 9)) * (rng.random((7, 9)) < 0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "TALL", 3)
        patch.setattr(row_blocks, "PICKED", picked)
        blocks = RowBlocks(sparse.csr_array(dense))
    multipliers, points = rng.normal(size=(7, 4)), rng.normal(size=(12, 4))
    for dtype in (np.float64, np.float32):
        into: NDArray[np.floating] = np.zeros((12, 4), dtype)
        blocks.add_combined(multipliers.astype(dtype), into)
        assert np.allclose(into[:9], dense.T @ multipliers, atol=1e-5)
        assert not into[9:].any()
        values = blocks.values(points.astype(dtype))
        assert values.dtype == dtype
        assert np.allclose(values, dense @ points[:9], atol=1e-5)


@settings(max_examples=25)
@given(st.data(), st.sampled_from([1e-3, 0.1, 1.0]), st.sampled_from([0, 1, 4]))
def test_points_lie_between_bounds(data: st.DataObject, radius: float, steps: int) -> None:
    """Of parts of the region too, whose bounds begin with those of the whole."""
    network = data.draw(networks())
    ball = Query(network, data.draw(anchors(network))).ball(radius)
    bounds = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, network.classes))
    shared = LayerwiseBounds(condense(network, bounds, ball), weights, np.array([0.0, 1.0, -2.0]))
    lower, upper = ball.lower.reshape(-1), ball.upper.reshape(-1)
    known = shared.known
    for _ in range(2):
        known = shared.neurons(lower, upper, known, steps)
        rows = shared.rows(lower, upper, known, steps)
        for share in (*np.eye(2)[:, :1], *rng.random((6, len(lower))), *rng.integers(0, 2, (6, 1))):
            x = np.clip(lower + share * (upper - lower), lower, upper)
            sample = x.reshape(1, *network.input_shape)
            values = pre_activations(network, sample[0])
            for layer, (low, high), z in zip(shared.layers, known, values, strict=True):
                own = z[0][layer.neurons]
                size = 1e-9 * (1 + np.abs(own))
                assert np.all(low <= own + size)
                assert np.all(own <= high + size)
            y = weights @ forward64(network, sample)[0].reshape(-1) - [0.0, 1.0, -2.0]
            assert np.all(rows <= y + 1e-9 * (1 + np.abs(y)))
        middle = 0.5 * (lower + upper)
        lower, upper = (middle, upper) if rng.random() < 0.5 else (lower, middle)


def test_steps_gain() -> None:
    ball, shared = _perceptron()
    lower, upper = ball.lower.reshape(-1), ball.upper.reshape(-1)
    plain = shared.neurons(lower, upper, shared.known, 0)
    found = shared.neurons(lower, upper, shared.known, 4)
    for (low, high), (below, above) in zip(plain, found, strict=True):
        # Lines with the least area are others on tighter bounds.
        assert np.all(below >= low - 1e-3 * np.abs(low))
        assert np.all(above <= high + 1e-3 * np.abs(high))
    widths = [float(np.sum(ends[2][1] - ends[2][0])) for ends in (plain, found)]
    assert widths[1] < 0.95 * widths[0]
    assert np.all(shared.rows(lower, upper, found, 8) > shared.rows(lower, upper, plain, 0))


def test_the_bounds_are_those_of_crown() -> None:
    ball, shared = _perceptron()
    found = shared.neurons(ball.lower.reshape(-1), ball.upper.reshape(-1), shared.known, 0)
    for (low, high), layer in zip(found, shared.layers, strict=True):
        assert np.allclose(low, layer.lower, rtol=1e-4)
        assert np.allclose(high, layer.upper, rtol=1e-4)


def test_a_deadline_ends_it() -> None:
    ball, shared = _perceptron()
    with using(current().within(-1.0)), pytest.raises(OutOfTimeError):
        shared.neurons(ball.lower.reshape(-1), ball.upper.reshape(-1), shared.known, 4)


def test_lines_in_float32_are_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slopes that are no numbers lose the bounds they were looked for, not those that were there."""
    ball, shared = _perceptron()
    lower, upper = ball.lower.reshape(-1), ball.upper.reshape(-1)
    plain = shared.neurons(lower, upper, shared.known, 0)

    def broken(self: object, slopes: NDArray[np.float32], *_: object) -> None:
        slopes[:] = np.nan

    monkeypatch.setattr(layerwise._Ascent, "take", broken)
    found = shared.neurons(lower, upper, shared.known, 4)
    for ends, own in zip(plain, found, strict=True):
        assert np.array_equal(ends, own)


def _perceptron() -> tuple[Ball, LayerwiseBounds]:
    net = Perceptron.random(np.random.default_rng(3), [3, 12, 12, 12, 2])
    network = gp.from_proto(net.model())
    ball = Query(network, gp.Anchor(np.zeros(3, np.float32), 0), gp.Domain(-1.0, 1.0)).ball(0.5)
    layers = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
    condensed = condense(network, layers, ball)
    return ball, LayerwiseBounds(condensed, np.array([[1.0, -1.0]]), np.zeros(1))
