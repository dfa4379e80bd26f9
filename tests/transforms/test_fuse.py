"""Segments that share values, one of which becomes a matrix."""

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.ir.network import operator
from graphprune.operators import Dense
from graphprune.testing import assert_equivalent
from graphprune.transforms.fuse import fuse

SHARED = """
<ir_version: 8, opset_import: ["" : 17]>
shared (float[N,1,16,16] x) => (float[N,4] y)
{
  z = Conv (x, W1)
  a = Relu (z)
  flat = Flatten (a)
  left = Gemm (flat, W2)
  wide = ConvTranspose (z, W3)
  b = %s (wide)
  pooled = Flatten (b)
  right = MatMul (pooled, W4)
  y = Add (left, right)
}
"""


def shared(activation: str, used: int) -> gp.Network:
    """Eight units read by a ReLU, of which `used` count, and by a transposed convolution."""
    rng = np.random.default_rng(5)
    model = onnx.parser.parse_model(SHARED % activation)
    left = rng.normal(size=(8, 4))
    left[used:] = 0.0
    weights = {
        "W1": rng.normal(size=(8, 1, 16, 16)) / 16,
        "W2": left,
        "W3": rng.normal(size=(8, 1, 16, 16)),
        "W4": rng.normal(size=(256, 4)) / 16,
    }
    for name, weight in weights.items():
        tensor = onnx.numpy_helper.from_array(weight.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    return gp.from_proto(model)


@pytest.mark.parametrize("used", [4, 8])
def test_a_pre_activation_that_a_convolution_reads_too_keeps_its_shape(used: int) -> None:
    network = shared("Relu", used)
    fused, notes = fuse(network)
    points = np.random.default_rng(0).normal(size=(20, 1, 16, 16))
    assert_equivalent(network, fused, on=points)
    assert "convolution ConvTranspose" in notes[1] or "Conv+ConvTranspose" in notes[1]
    kinds = [type(operator(node)) for node in fused.nodes]
    assert Dense in kinds


def test_two_activations_of_one_value_share_their_matrix() -> None:
    rng = np.random.default_rng(6)
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    twice (float[N,4] x) => (float[N,3] y)
    {
      h = Gemm (x, W1)
      z = Softplus (h)
      m = MatMul (z, W2)
      q = MatMul (m, W3)
      a = Relu (q)
      b = Sigmoid (q)
      left = MatMul (a, W4)
      right = MatMul (b, W5)
      y = Add (left, right)
    }
    """)
    shapes = {"W1": (4, 12), "W2": (12, 5), "W3": (5, 12), "W4": (12, 3), "W5": (12, 3)}
    for name, shape in shapes.items():
        weight = rng.normal(size=shape)
        # Each activation has units of its own that count.
        weight[:4] *= float(name != "W4")
        weight[8:] *= float(name != "W5")
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(weight.astype(np.float32), name)
        )
    network = gp.from_proto(model)
    points = rng.normal(size=(20, 4))
    assert_equivalent(network, fuse(network)[0], on=points)


def test_neurons_that_a_matrix_shows_to_be_unread_are_left_out_at_once() -> None:
    """A pool reads every cell of a channel, its matrix below a layer of few weights only one."""
    model = onnx.parser.parse_model("""
<ir_version: 8, opset_import: ["" : 15]>
unread (float[N,1,3,3] x) => (float[N,2] y)
{
  z = Conv <strides = [1, 2]> (x, W1)
  a = Relu (z)
  pooled = AveragePool <kernel_shape = [2, 2], pads = [1, 1, 1, 1], strides = [2, 2]> (a)
  flat = Flatten (pooled)
  y = Gemm (flat, W2)
}
""")
    weights = {"W1": np.array([0.0, 1.0]).reshape(2, 1, 1, 1), "W2": np.eye(8)[:, :2]}
    for name, weight in weights.items():
        tensor = onnx.numpy_helper.from_array(weight.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    network = gp.from_proto(model)
    once, notes = fuse(network)
    twice, _ = fuse(once)
    assert twice.multiply_adds == once.multiply_adds < 36
    assert len(notes) > len(network.segments)
    assert_equivalent(network, once)
