"""The shipped networks with smooth functions and products, asked as any other."""

import numpy as np
import pytest

import graphprune as gp
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.conftest import MODELS
from tests.oracles import original64

TEST = MODELS / "mnist-test-100.npz"


@pytest.mark.parametrize("name", ["mnist-silu", "mnist-se", "mnist-vit", "mnist-vit-plain"])
def test_they_load_and_classify(name: str) -> None:
    network = gp.load(MODELS / f"{name}.onnx")
    anchors = gp.load_anchors(TEST, network)
    x = np.stack([a.x for a in anchors])
    assert np.mean(run_original(network, x).argmax(1) == [a.label for a in anchors]) >= 0.96
    assert np.allclose(forward64(network, x[:2])[0], original64(network, x[:2]), atol=1e-4)


@pytest.mark.parametrize("name", ["mnist-silu", "mnist-se"])
def test_a_distance_lies_between_its_bounds(name: str) -> None:
    network = gp.load(MODELS / f"{name}.onnx")
    anchor = gp.load_anchors(TEST, network)[2]
    found, bound = gp.attack(network, anchor, effort="fast"), gp.certify(network, anchor)
    assert found.distance is not None
    assert 0.0 < bound.radius < found.distance
    # Points of the ball that is certified, on the way to the adversarial one and beyond.
    assert found.witness is not None
    step = (found.witness.x - anchor.x) * (bound.radius / found.distance)
    logits = forward64(network, np.stack([anchor.x + step, anchor.x - step]).astype(np.float32))[0]
    assert np.all(logits.argmax(1) == anchor.label)


def test_attention_that_is_trained_for_bounds_has_close_ones() -> None:
    """Half of an adversarial point's distance is certified, a tenth of it on the plain network."""
    network = gp.load(MODELS / "mnist-vit.onnx")
    anchor = gp.load_anchors(TEST, network)[0]
    found = gp.attack(network, anchor, effort="fast").distance
    assert found is not None
    assert gp.certify(network, anchor, radius=0.5 * found).radius >= 0.499 * found


def test_sines_in_two_dimensions_have_exact_distances() -> None:
    network = gp.load(MODELS / "sine-2d.onnx")
    anchor = gp.load_anchors(MODELS / "toy-2d-anchors.npz", network)[1]
    found = gp.distance(network, anchor, time_limit=30)
    assert found.status == "exact"
    assert found.certified
    # No point of a grid that is nearer has another class.
    sides = np.linspace(-1, 1, 201) * found.lower * (1 - 1e-6)
    grid = np.stack(np.meshgrid(sides, sides), -1).reshape(-1, 2) + anchor.x
    inside = grid[np.all((grid >= 0) & (grid <= 1), axis=1)]
    assert np.all(forward64(network, inside)[0].argmax(1) == anchor.label)
