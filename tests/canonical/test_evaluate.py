"""Constants of operators that the reference implementation lacks, and how large they may be."""

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

import graphprune as gp
from graphprune.canonical import memory
from graphprune.errors import UnsupportedError
from tests.canonical.models import agrees, model_of, node
from tests.canonical.test_fold import f32, i64


@pytest.mark.parametrize("opset", [10, 13, 18])
@pytest.mark.parametrize("per_channel", [False, True])
def test_dequantised_weights(opset: int, per_channel: bool) -> None:
    if per_channel and opset < 13:
        return
    count = 3 if per_channel else 1
    scale, zero = f32(0.1, 0.2, 0.3)[:count], np.array([5, 2, 7], np.uint8)[:count]
    constants = {
        "q": np.arange(12, dtype=np.uint8).reshape(4, 3),
        "s": scale if per_channel else scale[0],
        "z": zero if per_channel else zero[0],
    }
    axis: dict[str, Any] = {"axis": 1} if per_channel else {}
    nodes = [node("DequantizeLinear", "q s z", "w", **axis), node("MatMul", "x w")]
    agrees(model_of(nodes, ["n", 4], opset=opset, constants=constants))


def test_operators_that_only_the_runtime_has() -> None:
    constants = {"w": f32(1, 2, 3), "at": i64(2, 0), "new": f32(7, 8)}
    nodes = [node("Scatter", "w at new", "c"), node("Add", "x c")]
    agrees(model_of(nodes, ["n", 3], opset=10, constants=constants))
    quantised = {"q": np.arange(3, dtype=np.int16), "s": f32(0.5)[0], "z": np.array(1, np.int16)}
    nodes = [node("DequantizeLinear", "q s z", "c", domain="com.microsoft"), node("Add", "x c")]
    model = model_of(nodes, ["n", 3], constants=quantised)
    model.opset_import.add(domain="com.microsoft", version=1)
    agrees(model)


def test_comparisons_of_cast_constants() -> None:
    """Less(w, CastLike(0, w)): the cast is in the weight's type, not in a wider one."""
    nodes = [
        node("Constant", "", "zero", value_float=0.0), node("CastLike", "zero w", "z"),
        node("Less", "w z", "neg"), node("Where", "neg z w", "v"), node("MatMul", "x v"),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3)).astype(np.float32)
    agrees(model_of(nodes, ["n", 4], opset=19, constants={"w": weight}))


def test_joined_feature_maps_are_no_constants() -> None:
    """A dense network: every Concat has twice the channels, but biases are not what it joins."""
    rng = np.random.default_rng(0)
    nodes, constants, last = [], {}, "x"
    for i in range(20):
        constants[f"w{i}"] = rng.normal(size=(1, 1 + i, 1, 1)).astype(np.float32)
        constants[f"b{i}"] = rng.normal(size=1).astype(np.float32)
        nodes += [
            node("Conv", f"{last} w{i} b{i}", f"c{i}"),
            node("Concat", f"{last} c{i}", f"j{i}", axis=1),
        ]
        last = f"j{i}"
    big = {
        "w": rng.normal(size=(64, 21, 1, 1)).astype(np.float32),
        "b": np.zeros(1 << 20, np.float32),
    }
    nodes += [node("Conv", f"{last} w", "y")]
    assert gp.from_proto(model_of(nodes, ["n", 1, 2, 2], constants=constants | big)).classes == 256


def test_too_large_constants_name_size_node_and_remedy() -> None:
    nodes = [
        node("ConstantOfShape", "s", "c"),
        node("Flatten", "c", "w", axis=1),
        node("MatMul", "x w"),
    ]
    with pytest.raises(
        UnsupportedError,
        match="the ConstantOfShape c.* 8 GiB; .* take 1.5 GiB: store it in the file",
    ):
        gp.from_proto(model_of(nodes, ["n", 4], constants={"s": i64(4, 1 << 14, 1 << 14)}))


def test_many_constants_may_be_as_large_as_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed of weights counts against the weights that are stored."""
    monkeypatch.setattr("graphprune.canonical.fold.FOLDED", 64)
    weight = np.ones((5, 4), np.float32)
    nodes = [node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t")]
    agrees(model_of(nodes, ["n", 4], constants={"w": weight}))
    shaped = [node("ConstantOfShape", "s", "t"), node("MatMul", "x t")]
    with pytest.raises(UnsupportedError, match="computes a constant of 160 bytes"):
        gp.from_proto(model_of(shaped, ["n", 4], constants={"s": i64(4, 5)}))


def test_filled_weights_are_views() -> None:
    """VGG-19 of the ONNX test data: 1.1 GB of weights that nobody stored."""
    value = numpy_helper.from_array(f32(0.5))
    nodes = [node("ConstantOfShape", "s", "w", value=value), node("MatMul", "x w")]
    agrees(model_of(nodes, ["n", 4], constants={"s": i64(4, 5)}))


def test_amounts_are_readable() -> None:
    assert memory.amount(3 << 29) == "1.5 GiB"
    assert memory.amount(100) == "100 bytes"
    assert memory.bytes_of((2, 3)) == 48


@pytest.mark.parametrize("opset", [10, 13])
def test_a_dequantised_input_stays_refused(opset: int) -> None:
    constants = {"s": f32(0.1)[0], "z": np.array(0, np.uint8)}
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z")]
    with pytest.raises(UnsupportedError, match="the QuantizeLinear q.*rounds computed values"):
        gp.from_proto(model_of(nodes, ["n", 4], opset=opset, constants=constants))


OLDER = [
    node("Softmax", "w", "c"), node("Softmax", "w", "c", axis=0), node("LogSoftmax", "w", "c"),
    node("Hardmax", "w", "c", axis=0), node("Flatten", "w", "c", axis=2),
    node("BatchNormalization", "w s b m v", "c", epsilon=0.1),
    node("LRN", "w", "c", size=3, alpha=0.1),
    node("MaxPool", "w", "c", kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
    node("AveragePool", "w", "c", kernel_shape=[2, 2], pads=[1, 1, 0, 0]),
]  # fmt: skip


@pytest.mark.parametrize("opset", [7, 9, 12, 13])
@pytest.mark.parametrize("older", OLDER, ids=lambda item: item.op_type)
def test_constants_are_those_of_the_runtime(older: Any, opset: int) -> None:
    """The reference is wrong about several operators, mostly before opset 14."""
    rng = np.random.default_rng(0)
    constants = {name: f32(*(0.1 + rng.random(3))) for name in "sbmv"}
    constants["w"] = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    flat = [node("Reshape", "c all", "r"), node("ReduceMax", "r", "t", axes=[0])]
    constants |= {"all": i64(2, -1)}
    nodes = [older, *flat, node("Gather", "t at", "g", axis=1), node("Add", "x g")]
    agrees(model_of(nodes, ["n", 8], opset=opset, constants=constants | {"at": i64(*range(8))}))
