"""Every operator that the checker reads, against ONNX's own reference, and proofs with them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.check import read, verify
from graphprune.check.model import parse_model
from graphprune.check.point import evaluate, run
from graphprune.check.reader import RULES
from graphprune.cli.app import run as command
from graphprune.errors import UnsupportedError
from graphprune.ir.network import size
from graphprune.testing import many_operator_models
from tests.conftest import Floor, random_points
from tests.oracles import original64

# An image (2, 4, 5) is the input; constants by name.
CONSTANTS: dict[str, Any] = {
    "slopes": np.array([[[0.3]], [[-0.5]]], np.float32), "wide": np.full((1, 2, 4, 5), 0.2, np.float32),
    "low": np.float32(-0.4), "high": np.float32(0.3), "most": np.finfo(np.float32).max,
    "three": np.array([3]), "last": np.array([-1]), "axes": np.array([2, 3]), "zero": np.array([0]),
    "one": np.array([1]), "four": np.array([4]), "far": np.array([-100]), "minus": np.array([-2]),
    "index": np.array([[2, 0], [1, 1]]), "split": np.array([1, 3]), "number": np.float32(0.7),
    "pads": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "k": np.full((3, 1, 2, 2), 0.5, np.float32),
    "k2": np.arange(2 * 2 * 3 * 2, dtype=np.float32).reshape(2, 2, 3, 2) / 10,
}  # fmt: skip
N = helper.make_node
CASES: dict[str, list[onnx.NodeProto]] = {
    "LeakyRelu": [N("LeakyRelu", ["x"], ["z"], alpha=0.2)],
    "LeakyRelu by default": [N("LeakyRelu", ["x"], ["z"])],
    "PRelu": [N("PRelu", ["x", "slopes"], ["z"])],
    "Abs": [N("Abs", ["x"], ["z"])],
    "ReduceL1": [N("ReduceL1", ["x"], ["z"], axes=[2])],
    "ReduceL1 without axes": [N("ReduceL1", ["x"], ["z"], axes=[1, 2, 3], keepdims=0)],
    "ThresholdedRelu": [N("ThresholdedRelu", ["x"], ["z"], alpha=0.0)],
    "Shrink": [N("Shrink", ["x"], ["z"], bias=0.25, lambd=0.25)],
    "Clip": [N("Clip", ["x", "low", "high"], ["z"])],
    "Clip from below": [N("Clip", ["x", "low"], ["z"])],
    "Clip with no upper end": [N("Clip", ["x", "low", "most"], ["z"])],
    "HardSigmoid": [N("HardSigmoid", ["x"], ["z"], alpha=0.7, beta=0.4)],
    "HardSigmoid by default": [N("HardSigmoid", ["x"], ["z"])],
    "Max": [N("Relu", ["x"], ["h"]), N("Neg", ["x"], ["n"]), N("Max", ["h", "n", "low"], ["z"])],
    "Min": [N("Abs", ["x"], ["h"]), N("Min", ["low", "h", "x", "wide"], ["z"])],
    "MaxPool": [N("MaxPool", ["x"], ["z"], kernel_shape=[3, 2], strides=[2, 1])],
    "MaxPool with pads": [
        N("MaxPool", ["x"], ["z"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], dilations=[1, 2])
    ],
    "MaxPool, same": [N("MaxPool", ["x"], ["z"], kernel_shape=[3, 3], auto_pad="SAME_UPPER")],
    "GlobalMaxPool": [N("GlobalMaxPool", ["x"], ["z"])],
    "ReduceMax": [N("ReduceMax", ["x"], ["z"], axes=[-1, 1], keepdims=0)],
    "ReduceMin": [N("ReduceMin", ["x"], ["z"], axes=[2])],
    "AveragePool": [N("AveragePool", ["x"], ["z"], kernel_shape=[2, 3], pads=[1, 0, 0, 1])],
    "AveragePool with pads": [
        N("AveragePool", ["x"], ["z"], kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    ],
    "GlobalAveragePool": [N("GlobalAveragePool", ["x"], ["z"])],
    "ReduceMean": [N("ReduceMean", ["x"], ["z"], axes=[3], keepdims=0)],
    "ReduceSum": [N("ReduceSum", ["x", "axes"], ["z"])],
    "Sub": [N("Relu", ["x"], ["h"]), N("Sub", ["h", "x"], ["z"])],
    "Transpose": [N("Transpose", ["x"], ["z"], perm=[0, 3, 1, 2])],
    "Squeeze": [N("Gather", ["x", "one"], ["h"], axis=1), N("Squeeze", ["h", "one"], ["z"])],
    "Unsqueeze": [N("Unsqueeze", ["x", "last"], ["z"])],
    "Slice": [N("Slice", ["x", "one", "last", "three"], ["z"])],
    "Slice backwards": [N("Slice", ["x", "last", "far", "three", "minus"], ["z"])],
    "Gather": [N("Gather", ["x", "index"], ["z"], axis=2)],
    "Gather of a number": [N("Gather", ["x", "last"], ["z"], axis=-1)],
    "Split": [N("Split", ["x", "split"], ["h", "z"], axis=2)],
    "Split into equal parts": [N("Split", ["x"], ["h", "z"], axis=1)],
    "Pad": [N("Pad", ["x", "pads", "number"], ["z"])],
    "Concat": [N("Relu", ["x"], ["h"]), N("Concat", ["x", "h", "x"], ["z"], axis=1)],
    "Conv of groups": [N("Split", ["x"], ["g", "h"], axis=1), N("Conv", ["g", "k"], ["z"])],
    "Conv": [N("Conv", ["x", "k2"], ["z"], strides=[2, 1], auto_pad="SAME_LOWER")],
    "Mul": [N("Mul", ["x", "number"], ["z"])],
}  # fmt: skip


def model_with(nodes: Sequence[onnx.NodeProto], *, head: Sequence[onnx.NodeProto] = ()) -> Any:
    """A file: an image, the nodes on it, and logits."""
    used = {name for node in nodes for name in node.input}
    body = [*nodes, N("Flatten", ["z"], ["f"])]
    given = [numpy_helper.from_array(np.asarray(c), n) for n, c in CONSTANTS.items() if n in used]
    probe = helper.make_graph(
        body, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 5])],
        [helper.make_tensor_value_info("f", TensorProto.FLOAT, None)], given,
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    shaped = onnx.shape_inference.infer_shapes(
        helper.make_model(probe, opset_imports=opset), data_prop=True
    )
    width = shaped.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=(width, 3)) / np.sqrt(width)).astype(np.float32)
    graph = helper.make_graph(
        [*body, N("MatMul", ["f", "weight"], ["y" if not head else "l"]), *head], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [*given, numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=opset)


def agree(proto: onnx.ModelProto, seed: int) -> None:
    model, network = parse_model(proto.SerializeToString()), gp.from_proto(proto)
    for x in random_points(network, 3, seed):
        point = 2.0 * x - 1.0
        values, error = evaluate(model, point)
        truth = original64(network, point[None])[0]
        assert np.all(np.abs(values - truth) <= error + 1e-12 * (1 + np.abs(truth)))
        assert np.all(error <= 1e-9 * (1 + np.abs(truth).max()))
        assert np.allclose(run(model, point.astype(np.float32)), truth, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_it_reads_what_onnx_says(name: str) -> None:
    agree(model_with(CASES[name]), 0)


@pytest.mark.parametrize(
    "node",
    [
        N("ThresholdedRelu", ["x"], ["z"], alpha=0.5),
        N("ThresholdedRelu", ["x"], ["z"]),
        N("Shrink", ["x"], ["z"], bias=0.1, lambd=0.25),
        N("Shrink", ["x"], ["z"]),
    ],
)
def test_jumps_are_refused(node: onnx.NodeProto) -> None:
    with pytest.raises(UnsupportedError, match="jumps"):
        parse_model(model_with([node]).SerializeToString())


def test_every_rule_has_a_case() -> None:
    plain = {"Add", "BatchNormalization", "Constant", "Div", "Dropout", "Gemm", "Identity"}
    elsewhere = plain | {"Flatten", "LogSoftmax", "MatMul", "Relu", "Reshape", "Softmax"}
    assert {node.op_type for nodes in CASES.values() for node in nodes} | elsewhere >= set(RULES)


@pytest.mark.parametrize("name", CASES)
def test_its_neurons_are_those_of_the_search(name: str) -> None:
    """A trace of the search is of use only where both count the same."""
    proto = model_with(CASES[name])
    network = gp.from_proto(proto)
    sizes = tuple(size(activation.outputs[0]) for activation in network.activations)
    assert parse_model(proto.SerializeToString()).relus == sizes or not any(
        network.live(activation).all() for activation in network.activations
    )


@settings(max_examples=40)
@given(many_operator_models(), st.integers(0, 1000))
def test_networks_of_many_operators_agree(floor: Floor, proto: onnx.ModelProto, seed: int) -> None:
    try:
        model = parse_model(proto.SerializeToString())
    except UnsupportedError:
        return
    network = gp.from_proto(proto)
    if model.shape != network.input_shape:
        return
    floor.checked(1, least=10)
    for x in random_points(network, 2, seed):
        values, error = evaluate(model, x)
        truth = original64(network, x[None])[0]
        assert np.all(np.abs(values - truth) <= error + 1e-11 * (1 + np.abs(truth)))


def test_a_softmax_at_the_end_is_left_out() -> None:
    proto = model_with(CASES["Abs"], head=[N("Softmax", ["l"], ["y"], axis=1)])
    model = parse_model(proto.SerializeToString())
    x = np.random.default_rng(0).random((2, 4, 5))
    assert np.argmax(evaluate(model, x)[0]) == np.argmax(run(model, x.astype(np.float32)))
    middle = model_with(
        CASES["Abs"], head=[N("Softmax", ["l"], ["p"], axis=1), N("Neg", ["p"], ["y"])]
    )
    with pytest.raises(UnsupportedError, match="Softmax.*as the last node"):
        parse_model(middle.SerializeToString())


BAD: dict[str, tuple[onnx.NodeProto, str]] = {
    "rounding up": (N("MaxPool", ["x"], ["z"], kernel_shape=[2, 2], ceil_mode=1), "ceil_mode"),
    "the batch": (N("Transpose", ["x"], ["z"], perm=[1, 0, 2, 3]), "batch does not stay first"),
    "padded batches": (N("Concat", ["x", "x"], ["z"], axis=0), "axis 0"),
    "edges": (N("Pad", ["x", "pads"], ["z"], mode="edge"), "padding by a constant"),
    "gathered batches": (N("Gather", ["x", "zero"], ["z"], axis=0), "axis 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_it_cannot_read_is_named(name: str) -> None:
    node, message = BAD[name]
    with pytest.raises(UnsupportedError, match=message):
        parse_model(model_with([node]).SerializeToString())


@pytest.mark.parametrize(
    "name", ["LeakyRelu", "PRelu", "Abs", "Clip", "Max", "Min", "MaxPool", "HardSigmoid", "Concat"]
)
def test_a_distance_through_it_is_proven_and_verified(name: str, tmp_path: Path) -> None:
    path, proof = tmp_path / "m.onnx", str(tmp_path / "p.gpc")
    onnx.save(model_with(CASES[name], head=[N("Softmax", ["l"], ["y"], axis=1)]), path)
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(1).random((2, 2, 4, 5), np.float32))
    common = ["distance", str(path), "--anchors", str(tmp_path / "a.npz"), "--quiet"]
    assert command([*common, "--certificate", proof]) == 0
    assert command(["check", proof, str(path)]) == 0
    verified = verify(read(proof), parse_model(path.read_bytes()))
    assert all(v.upper is None or v.lower > 0.99 * v.upper for v in verified)
