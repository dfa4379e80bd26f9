"""Rows in groups against rows alone, and bounds that stop at a sign against whole ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import Ascent, Boxes, Method, pre_activation_bounds
from graphprune.bounds.compact.engine import CompactEngine
from graphprune.bounds.problem import BoundsProblem
from graphprune.region import Ball
from graphprune.runtime.resources import Resources
from graphprune.testing import networks
from tests.conftest import random_points

RADIUS = st.sampled_from([0.02, 0.3])


def problem(
    network: gp.Network, seed: int, radius: float, method: Method = "crown"
) -> BoundsProblem:
    boxes = Boxes.of(*(Ball(x.astype(float), radius) for x in random_points(network, 2, seed)))
    return BoundsProblem(network, boxes, method, {}, pre_activation_bounds(network, boxes))


def engine_on(known: BoundsProblem) -> CompactEngine:
    return CompactEngine(known, Resources(), Ascent())


@pytest.mark.parametrize(("method", "tolerance"), [("crown", 1e-9), ("alpha-crown", 1e-3)])
@given(network=networks(), seed=st.integers(0, 1000), radius=RADIUS)
def test_a_row_does_not_depend_on_its_group(
    method: Method, tolerance: float, network: gp.Network, seed: int, radius: float
) -> None:
    """Adam turns the rounding errors of small gradients into steps: other slopes, close bounds."""
    engine = engine_on(problem(network, seed, radius, method))
    rows = np.random.default_rng(seed).normal(size=(37, network.classes))
    rows[rows < -0.5] = 0.0
    top = len(network.segments) - 1
    together = engine.rows(top, rows)
    alone = np.concatenate([engine.rows(top, row[None]) for row in rows], axis=1)
    assert np.allclose(together, alone, rtol=tolerance, atol=tolerance)


@given(network=networks(), seed=st.integers(0, 1000), radius=RADIUS)
def test_stopping_at_a_sign_finds_the_same_signs(
    network: gp.Network, seed: int, radius: float
) -> None:
    known = problem(network, seed, radius)
    for index, layer in enumerate(list(known.layers)):
        below = BoundsProblem(network, known.boxes, "crown", {}, known.layers[:index])
        chosen = np.ones(layer.lower.shape, dtype=bool)
        bounds = []
        for until_stable in (False, True):
            engine = engine_on(below)
            engine.interval(index)
            bounds.append(engine.neurons(index, chosen, until_stable=until_stable))
        (lower, upper), (some_lower, some_upper) = bounds
        unstable = (lower < -1e-9) & (upper > 1e-9)
        assert np.allclose(some_lower[unstable], lower[unstable], rtol=1e-9, atol=1e-9)
        assert np.allclose(some_upper[unstable], upper[unstable], rtol=1e-9, atol=1e-9)
        assert np.all((some_lower >= 0) | (lower < 1e-9))
        assert np.all((some_upper <= 0) | (upper > -1e-9))
