"""Switches of the search's techniques: distances stay what they are, and switches end."""

import numpy as np
import pytest

import graphprune as gp
from benchmarks.switches import TECHNIQUES, without
from graphprune.backends.search import radius_step
from graphprune.region import Anchor
from tests.oracles import Perceptron

# It compiles kernels anew.
SLOW = "step cap (Polyak's rule)"


@pytest.mark.parametrize("technique", [name for name in TECHNIQUES if name != SLOW])
def test_distances_are_the_same_without_a_technique(technique: str) -> None:
    network = gp.from_proto(Perceptron.random(np.random.default_rng(3), [3, 12, 10, 3]).model())
    x = np.array([0.4, 0.5, 0.6], np.float32)
    anchor = Anchor(x)
    whole = gp.distance(network, anchor, solver="search")
    with without(technique):
        found = gp.distance(network, anchor, solver="search")
    assert found.status == whole.status == "exact"
    assert found.upper == pytest.approx(whole.upper, rel=1e-4)


def test_a_switch_ends() -> None:
    forecasts = vars(radius_step.RadiusProof)["_forecasts"]
    with without("forecasts"):
        assert vars(radius_step.RadiusProof)["_forecasts"] is False
    assert vars(radius_step.RadiusProof)["_forecasts"] is forecasts
