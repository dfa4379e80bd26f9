"""Constant and repeated neurons go, and the function stays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.testing import assert_equivalent, networks
from graphprune.transforms.merge_neurons import merge_neurons
from tests.oracles import Perceptron


@settings(max_examples=30)
@given(st.integers(0, 1000))  # random rows: small integers would repeat by themselves
def test_constant_and_multiple_rows_are_removed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [4, 8, 7, 3])
    w, b = net.weights[0], net.biases[0]
    w[3] = 0.0  # constant
    w[5], b[5] = 2.0 * w[1], 2.0 * b[1]  # a positive multiple
    w[6], b[6] = -w[1], -b[1]  # no multiple of a ReLU
    net.weights[1][2] = 0.0
    network = gp.from_proto(net.model())
    merged, counts = merge_neurons(network)
    assert_equivalent(network, merged)
    assert counts == {"constant": 2, "repeated": 1}
    assert merged.neurons == network.neurons - 3
    fused = gp.Pipeline.parse("fuse-affine").run(network).network
    assert_equivalent(network, fused)
    assert fused.neurons == network.neurons - 3


@given(networks())
def test_random_networks_stay_the_same_function(network: gp.Network) -> None:
    merged, _ = merge_neurons(network)
    assert_equivalent(network, merged)
    assert merged.neurons <= network.neurons
    assert merged.multiply_adds <= network.multiply_adds


@pytest.mark.parametrize("pad", [0, 1])
def test_channels_of_convolutions(pad: int) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(6, 2, 3, 3)), rng.normal(size=(4, 6, 3, 3))
    bias = rng.normal(size=6)
    first[1], bias[1] = 0.5 * first[0], 0.5 * bias[0]
    first[2], bias[2] = 0.0, 1.0  # a constant that padding makes position dependent
    first[3], bias[3] = 0.0, -1.0  # constant zero
    side = 6 + 2 * pad - 2
    head = rng.normal(size=(3, 4 * (side + 2 * pad - 2) ** 2))
    tensors = {"w": first, "b": bias, "v": second, "h": head}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["z"], pads=[pad] * 4),
        helper.make_node("Relu", ["z"], ["a"]),
        helper.make_node("Conv", ["a", "v"], ["y"], pads=[pad] * 4),
        helper.make_node("Relu", ["y"], ["r"]), helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "h"], ["o"], transB=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 6, 6])],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )  # fmt: skip
    network = gp.from_proto(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    )
    merged, counts = merge_neurons(network)
    assert_equivalent(network, merged)
    cells = side * side
    assert counts == {"constant": cells * (1 if pad else 2), "repeated": cells}
    assert merged.neurons == network.neurons - sum(counts.values())


def test_a_layer_of_constants_only() -> None:
    net = Perceptron([np.zeros((3, 2)), np.eye(3)], [np.array([1.0, -1, 2]), np.zeros(3)])
    network = gp.from_proto(net.model())
    merged, counts = merge_neurons(network)
    assert_equivalent(network, merged)
    assert counts["constant"] == 3
    assert_equivalent(network, gp.Pipeline.parse("fuse-affine").run(network).network)


@pytest.mark.parametrize("bias", [1.0, -1.0])
def test_a_layer_of_one_constant(bias: float) -> None:
    weights = [np.zeros((1, 2)), np.ones((3, 1))]
    net = Perceptron(weights, [np.array([bias]), np.arange(3.0)])
    network = gp.from_proto(net.model())
    merged, counts = merge_neurons(network)
    assert_equivalent(network, merged)
    assert counts == {"constant": 1, "repeated": 0}
    assert (network.live_neurons, merged.live_neurons) == (1, 0)
    assert merge_neurons(merged)[1] == {"constant": 0, "repeated": 0}
