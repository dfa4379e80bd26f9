"""What the checker reads is what ONNX says; what it cannot read it names."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.check.model import parse_model, read_model
from graphprune.check.point import evaluate, run
from graphprune.cli.app import run as command
from graphprune.errors import GraphpruneError, ModelError, UnsupportedError
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing import models
from tests.conftest import MODELS, Floor, random_points
from tests.oracles import original64


@settings(max_examples=30)
@given(models(), st.integers(0, 1000))
def test_random_models_agree_with_the_reference(
    floor: Floor, proto: onnx.ModelProto, seed: int
) -> None:
    try:
        model = parse_model(proto.SerializeToString())
    except UnsupportedError:
        assume(False)
    network = gp.from_proto(proto)
    for x in random_points(network, 2, seed):
        if model.shape != network.input_shape:
            assume(False)  # a batch axis where graphprune sees none
        floor.checked(1, least=20)
        values, error = evaluate(model, x)
        truth = original64(network, x[None])[0]
        assert np.all(np.abs(values - truth) <= error + 1e-12 * (1 + np.abs(truth)))
        assert np.all(error <= 1e-9 * (1 + np.abs(truth).max()))
        assert np.allclose(run(model, x), truth, atol=1e-3 * (1 + np.abs(truth).max()))


@pytest.mark.parametrize("name", ["mnist-tiny", "mnist-a", "mnist-c", "mnist-e", "toy-2d"])
def test_the_shipped_models_agree(name: str) -> None:
    model, network = read_model(MODELS / f"{name}.onnx"), gp.load(MODELS / f"{name}.onnx")
    assert (model.sha256, model.shape) == (network.source.sha256, network.input_shape)
    assert (model.neurons, model.classes) == (network.neurons, network.classes)
    x = random_points(network, 1)
    assert np.allclose(evaluate(model, x[0])[0], original64(network, x)[0], atol=1e-10)


def several_inputs(rng: np.random.Generator, sizes: list[int], kind: int) -> onnx.ModelProto:
    """Vectors, images among them, that are joined in another order than the file's."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    names = [f"x{i}" for i in range(len(sizes))]
    shapes: list[list[str | int]] = [
        ["n", n, 2] if i % 2 else ["n", n] for i, n in enumerate(sizes)
    ]
    total = sum(n * (1 + i % 2) for i, n in enumerate(sizes))
    weights = {
        name: numpy_helper.from_array(rng.normal(size=shape).astype(dtype), name)
        for name, shape in (("w", (total, 5)), ("v", (5, 3)))
    }
    flat = [helper.make_node("Flatten", [name], [f"{name}f"]) for name in names]
    nodes = [
        *flat, helper.make_node("Concat", [f"{name}f" for name in names[::-1]], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "w"], ["z"]), helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]  # fmt: skip
    inputs = [helper.make_tensor_value_info(n, kind, s) for n, s in zip(names, shapes, strict=True)]
    output = helper.make_tensor_value_info("y", kind, ["n", 3])
    graph = helper.make_graph(nodes, "g", inputs, [output], [*weights.values()])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


@settings(max_examples=10)
@given(
    st.integers(0, 1000), st.lists(st.integers(1, 3), min_size=2, max_size=4),
    st.sampled_from([TensorProto.FLOAT, TensorProto.DOUBLE]),
)  # fmt: skip
def test_several_inputs_are_one_point(seed: int, sizes: list[int], kind: int) -> None:
    proto = several_inputs(np.random.default_rng(seed), sizes, kind)
    model, network = parse_model(proto.SerializeToString()), gp.from_proto(proto)
    assert (model.shape, model.classes) == (network.input_shape, network.classes)
    for x in random_points(network, 2, seed):
        values, error = evaluate(model, x)
        truth = forward64(network, x[None])[0][0]
        assert np.all(np.abs(values - truth) <= error + 1e-12 * (1 + np.abs(truth)))
        single = x.astype(model.dtype)
        assert np.allclose(run(model, single), run_original(network, single[None])[0], atol=1e-5)


def test_inputs_of_several_types_or_batches_are_refused() -> None:
    proto = several_inputs(np.random.default_rng(0), [2, 2], TensorProto.FLOAT)
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(UnsupportedError, match="inputs of one type"):
        parse_model(proto.SerializeToString())
    proto = several_inputs(np.random.default_rng(0), [2, 2], TensorProto.FLOAT)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    with pytest.raises(UnsupportedError, match="batches of different sizes"):
        parse_model(proto.SerializeToString())


def test_a_distance_between_points_of_several_inputs_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(several_inputs(np.random.default_rng(3), [2, 1], TensorProto.FLOAT), path)
    network = gp.load(path)
    points = np.random.default_rng(0).random((1, 4)).astype(np.float32)
    feeds: dict[str, Any] = dict(network.source.feeds(points))
    np.savez(tmp_path / "a.npz", **feeds)
    proof = str(tmp_path / "p.gpc")
    common = ["distance", str(path), "--anchors", str(tmp_path / "a.npz"), "--quiet"]
    assert command([*common, "--certificate", proof]) == 0
    assert command(["check", proof, str(path)]) == 0


def _model(*nodes: onnx.NodeProto, shape: tuple[str | int, ...] = ("n", 2)) -> bytes:
    weights = [
        numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"),
        numpy_helper.from_array(np.array([1.0, 0.0], np.float32), "zero"),
        numpy_helper.from_array(np.array([np.nan, 0.0], np.float32), "nan"),
        numpy_helper.from_array(np.array([2, 1], np.int64), "shape"),
        numpy_helper.from_array(np.array([0, 2], np.int64), "none"),
        numpy_helper.from_array(np.array([-1, 2], np.int64), "rest"),
        numpy_helper.from_array(np.array([1], np.int64), "ax"),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        list(nodes), "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [w for w in weights if w.name in used],
    )  # fmt: skip
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([helper.make_node("Tanh", ["x"], ["y"], name="act")], "node 'act' .Tanh.: .* reads only"),
        ([helper.make_node("Gemm", ["x", "w"], ["y"], name="g", transA=1)], "'g' .*transA"),
        ([helper.make_node("MatMul", ["w", "x"], ["y"])], "not a constant|where a tensor"),
        ([helper.make_node("Div", ["x", "zero"], ["y"])], "division by zero"),
        (
            [
                helper.make_node("Unsqueeze", ["x", "ax"], ["z"]),
                helper.make_node("Sub", ["x", "z"], ["y"]),
            ],
            "one shape",
        ),
        ([helper.make_node("Mul", ["x", "x"], ["y"])], "does not fit|constant"),
        ([helper.make_node("Add", ["x", "nan"], ["y"])], "NaN"),
        ([helper.make_node("Flatten", ["x"], ["y"], axis=0)], "axis 1"),
        ([helper.make_node("Reshape", ["x", "shape"], ["y"])], "batch first"),
        ([helper.make_node("Reshape", ["x", "none"], ["y"], allowzero=1)], "empty output"),
    ],
)
def test_what_it_cannot_read_is_named(nodes: list[onnx.NodeProto], message: str) -> None:
    with pytest.raises(GraphpruneError, match=message):
        parse_model(_model(*nodes))


def test_a_reshape_as_pytorch_writes_it() -> None:
    """``allowzero`` says nothing about a shape without zeros."""
    nodes = [
        helper.make_node("Reshape", ["x", "rest"], ["z"], allowzero=1),
        helper.make_node("Gemm", ["z", "w"], ["y"]),
    ]
    model = parse_model(_model(*nodes, shape=("n", 1, 2)))
    assert run(model, np.array([[3.0, 4.0]], np.float32)).tolist() == [3.0, 4.0]


def test_weights_in_another_file_are_refused_with_a_remedy() -> None:
    proto = onnx.load_model_from_string(_model(helper.make_node("Gemm", ["x", "w"], ["y"])))
    (weight,) = proto.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.data")
    with pytest.raises(UnsupportedError, match=r"another file.*onnx\.save"):
        parse_model(proto.SerializeToString())


def test_files_that_are_no_models(tmp_path: object) -> None:
    with pytest.raises(ModelError, match="no such file"):
        read_model(f"{tmp_path}/missing.onnx")
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        parse_model(b"\x00\x01garbage")
    with pytest.raises(UnsupportedError, match="batch axis"):
        parse_model(_model(helper.make_node("Relu", ["x"], ["y"]), shape=(2,)))
