"""Only whole units and layers go, and what is left computes the same on the ball."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.ir.network import sample_shape, size
from graphprune.region import Box
from graphprune.runtime.reference import forward64
from graphprune.transforms.merge_neurons import merge_neurons
from graphprune.transforms.replace import Replacement
from graphprune.transforms.whole_units import whole_units
from tests.canonical.models import model_of, node
from tests.oracles import Perceptron

PASSES = gp.Pipeline.parse("bounds, prune-stable, fuse-affine")


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 0.3, 1.0]))
def test_dense_networks_lose_units_and_gain_no_nodes(seed: int, width: float) -> None:
    network = gp.from_proto(Perceptron.random(np.random.default_rng(seed), [3, 6, 5, 2]).model())
    centre = np.random.default_rng(seed).random(3)
    box = Box(np.clip(centre - width, 0, 1), np.clip(centre + width, 0, 1))
    whole, every = (
        PASSES.run(network, box=box, verify=True, whole_units=flag).network
        for flag in (True, False)
    )
    before, after = (
        Counter(one.op_type for one in gp.to_proto(net).graph.node) for net in (network, whole)
    )
    assert after <= before
    assert whole.multiply_adds <= network.multiply_adds
    assert every.live_neurons <= whole.live_neurons <= network.live_neurons


def convolutional(seed: int) -> gp.Network:
    rng = np.random.default_rng(seed)
    constants = {
        "w": rng.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "b": np.array([-20, 20, 0, 0], np.float32),
        "v": rng.normal(size=(3, 4, 3, 3)).astype(np.float32),
        "u": rng.normal(size=(12, 2)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r"),
        node("Conv", "r v", "d"), node("LeakyRelu", "d", "s"), node("Flatten", "s", "f"),
        node("MatMul", "f u", "y"),
    ]  # fmt: skip
    return gp.from_proto(model_of(nodes, ["n", 1, 4, 4], constants=constants))


def test_channels_go_and_mixed_layers_keep_their_form() -> None:
    network = convolutional(0)
    box = Box(np.zeros(network.input_shape), np.ones(network.input_shape))
    result = PASSES.run(network, box=box, verify=True, whole_units=True)
    proto = gp.to_proto(result.network)
    assert Counter(one.op_type for one in proto.graph.node) <= Counter(
        one.op_type for one in gp.to_proto(network).graph.node
    )
    (first, *_) = [t for t in proto.graph.initializer if len(t.dims) == 4]
    assert first.dims[0] == 3  # the channel that is always off
    (notes,) = [report.notes for report in result.report if report.name == "prune-stable"]
    assert "removed, as whole units and layers" in notes[0]


@pytest.mark.parametrize(
    ("slopes", "gone"),
    [([0, 0], 2), ([1, 1], 2), ([1, 0], 2), ([0, None], 1), ([1, None], 0), ([None, None], 0)],
)
def test_which_units_go(slopes: list[float | None], gone: int) -> None:
    """A unit that is always on goes with its whole layer alone."""
    network = gp.from_proto(Perceptron.random(np.random.default_rng(0), [2, 2, 2]).model())
    assert size(network.activations[0].outputs[0]) == 2
    new = Replacement.nothing(2).with_lines(
        np.array([slope is not None for slope in slopes]),
        np.array([float(slope or 0) for slope in slopes]), np.zeros(2),
    )  # fmt: skip
    found = whole_units(network, {0: new})
    assert sum(int(one.removed.sum()) for one in found.values()) == gone


@pytest.mark.parametrize(("multiple", "left"), [(1, 10), (4, 12), (5, 10), (6, 12)])
def test_channels_stay_a_multiple_of_what_runtimes_compute_at_a_time(
    multiple: int, left: int
) -> None:
    """Twelve channels of which one is read by nothing and one is constant; 5 is no divisor."""
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(12, 1, 3, 3)), rng.normal(size=(2, 12, 2, 2))
    w[3], v[:, 7] = 0.0, 0.0
    constants = {
        "w": w.astype(np.float32),
        "b": np.ones(12, np.float32),
        "v": v.astype(np.float32),
    }
    nodes = [
        node("Conv", "x w b", "c"), node("Relu", "c", "r"), node("Conv", "r v", "d"),
        node("Flatten", "d", "y"),
    ]  # fmt: skip
    network = gp.from_proto(model_of(nodes, ["n", 1, 5, 5], constants=constants))
    made, _ = merge_neurons(network, block=multiple)
    assert sample_shape(made.activations[0].outputs[0])[0] == left
    x = rng.normal(size=(9, 1, 5, 5))
    assert np.allclose(forward64(made, x)[0], forward64(network, x)[0], atol=1e-9)
