"""Every legalisation rule against ONNX Runtime, with the attributes that tools get wrong."""

from typing import Any

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.bounds import Boxes, linear_bounds, pre_activation_bounds, using_engine
from graphprune.errors import UnsupportedError
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.canonical.models import agrees, encloses, model_of, node
from tests.oracles import original64

RNG = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def num(value: float | list[float]) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


IMAGE = ["n", 2, 5, 6]
POOLS: list[dict[str, Any]] = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 0, 1], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "strides": [2, 1], "pads": [1, 2, 0, 1]},
    {"kernel_shape": [2, 2], "dilations": [2, 3]},
    {"kernel_shape": [5, 4], "strides": [1, 1], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [3, 3], "strides": [3, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "VALID"},
    {"kernel_shape": [1, 1], "strides": [2, 2]},
]


@pytest.mark.parametrize("attributes", POOLS)
def test_max_pool(attributes: dict[str, Any]) -> None:
    network = agrees(model_of([node("MaxPool", **attributes)], IMAGE))
    assert network.neurons == 0


def test_max_pool_leaves_the_padding_out() -> None:
    """Negative images: a padding of zeros would win every border window."""
    pool = node("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    agrees(model_of([pool], IMAGE), low=-5, high=-3)


@pytest.mark.parametrize("shape", [["n", 2, 7], ["n", 1, 3, 4, 5], [1, 2, 7]])
def test_max_pool_of_other_ranks(shape: list[Any]) -> None:
    rank = len(shape) - 2
    agrees(model_of([node("MaxPool", kernel_shape=[2] * rank, strides=[2] * rank)], shape))


def test_max_pool_shares_windows() -> None:
    """3x3 at stride 1: two maxima per axis and cell, not eight."""
    network = gp.from_proto(model_of([node("MaxPool", kernel_shape=[3, 3])], [1, 1, 10, 10]))
    assert network.auxiliary_neurons == (8 + 8) * 10 + (8 + 8) * 8


CASES: dict[str, tuple[list[onnx.NodeProto], list[Any], dict[str, np.ndarray]]] = {
    "global max": ([node("GlobalMaxPool")], IMAGE, {}),
    "global average": ([node("GlobalAveragePool")], IMAGE, {}),
    "leaky": ([node("LeakyRelu", alpha=0.2)], IMAGE, {}),
    "leaky above one": ([node("LeakyRelu", alpha=1.5)], IMAGE, {}),
    "prelu per channel": ([node("PRelu", "x s")], IMAGE, {"s": f32(2, 1, 1)}),
    "prelu scalar": ([node("PRelu", "x s")], IMAGE, {"s": f32(1)}),
    "abs": ([node("Abs")], IMAGE, {}),
    "clip": ([node("Clip", "x l h")], IMAGE, {"l": num(-0.5), "h": num(0.7)}),
    "relu6": ([node("Clip", "x l h")], IMAGE, {"l": num(0), "h": num(6)}),
    "clip below": ([node("Clip", "x l")], IMAGE, {"l": num(-0.5)}),
    "clip above": ([node("Clip", "x _ h")], IMAGE, {"h": num(0.5)}),
    "clip crossed": ([node("Clip", "x l h")], IMAGE, {"l": num(1), "h": num(-0.5)}),
    "clip nothing": ([node("Clip", "x")], IMAGE, {}),
    "hard sigmoid": ([node("HardSigmoid", alpha=0.6, beta=0.3)], IMAGE, {}),
    "max constant": ([node("Max", "x c")], IMAGE, {"c": f32(6)}),
    "min constant": ([node("Min", "c x")], IMAGE, {"c": f32(2, 1, 1)}),
    "max of itself and two": ([node("Neg", "x", "a"), node("Mul", "x c", "b"), node("Max", "x a b c")], IMAGE, {"c": f32(1)}),
    "min of two": ([node("Mul", "x c", "a"), node("Min", "x a")], IMAGE, {"c": f32(5, 6)}),
    "sum": ([node("Neg", "x", "a"), node("Sum", "x a x c")], IMAGE, {"c": f32(1)}),
    "mean": ([node("Abs", "x", "a"), node("Mean", "x a c")], IMAGE, {"c": f32(5, 1)}),
    "one minus x": ([node("Sub", "c x")], IMAGE, {"c": f32(1)}),
    "broadcast sum": ([node("ReduceMean", "x", "m", axes=[2, 3]), node("Sub", "x m")], IMAGE, {}),
    "enlarging constant": ([node("Add", "x c")], ["n", 1, 4], {"c": f32(3, 4)}),
    "pow one": ([node("Pow", "x c")], IMAGE, {"c": num(1)}),
    "where": ([node("Where", "m x c")], IMAGE, {"m": RNG.random((2, 5, 6)) < 0.5, "c": f32(1)}),
    "reduce sum": ([node("ReduceSum", "x a", keepdims=0)], IMAGE, {"a": i64(-1, 1)}),
    "reduce mean keep": ([node("ReduceMean", axes=[2])], IMAGE, {}),
    "reduce max": ([node("ReduceMax", axes=[-1], keepdims=0)], IMAGE, {}),
    "reduce min": ([node("ReduceMin", axes=[2, 3])], IMAGE, {}),
    "top 3 of 6": ([node("TopK", "x k", "v i"), node("Neg", "v")], IMAGE, {"k": i64(3)}),
    "bottom 2 of 5": ([node("TopK", "x k", "v i", axis=2, largest=0), node("Neg", "v")], IMAGE, {"k": i64(2)}),
    "top all of 2": ([node("TopK", "x k", "v i", axis=1), node("Neg", "v")], IMAGE, {"k": i64(2)}),
    "slice": ([node("Slice", "x s e a t")], IMAGE, {"s": i64(1, -1), "e": i64(2**62, -(2**62)), "a": i64(2, -1), "t": i64(2, -1)}),
    "slice batch whole": ([node("Slice", "x s e")], IMAGE, {"s": i64(0, 1), "e": i64(2**31 - 1, 2)}),
    "gather": ([node("Gather", "x i", axis=2)], IMAGE, {"i": i64(0, -1, 0, 3)}),
    "gather scalar": ([node("Gather", "x i", axis=1)], IMAGE, {"i": np.array(1)}),
    "gather matrix": ([node("Gather", "x i", axis=3)], IMAGE, {"i": np.array([[0, 5], [2, 2]])}),
    "split": ([node("Split", "x s", "a b", axis=2), node("ReduceSum", "b", "c", keepdims=1), node("Add", "a c")], [1, 2, 5, 6], {"s": i64(2, 3)}),
    "split evenly": ([node("Split", "x", "a b", axis=1), node("Sub", "a b")], IMAGE, {}),
    "concat": ([node("Abs", "x", "a"), node("Concat", "a x a", axis=-1)], IMAGE, {}),
    "concat twice the same": ([node("Concat", "x x", axis=1)], IMAGE, {}),
    "concat constant": ([node("Concat", "c x c", axis=1)], [1, 2, 3, 4], {"c": f32(1, 1, 3, 4)}),
    "expand": ([node("Expand", "x s")], ["n", 1, 3], {"s": i64(1, 4, 1)}),
    "tile": ([node("Tile", "x s")], ["n", 2, 3], {"s": i64(1, 2, 3)}),
    "pad": ([node("Pad", "x p v")], IMAGE, {"p": i64(0, 1, 0, 2, 0, 0, 3, 1), "v": num(0.7)}),
    "pad axes": ([node("Pad", "x p _ a")], IMAGE, {"p": i64(1, 2), "a": i64(-1)}),
    "pad reflect": ([node("Pad", "x p", mode="reflect")], IMAGE, {"p": i64(0, 0, 2, 1, 0, 0, 1, 3)}),
    "pad edge": ([node("Pad", "x p", mode="edge")], IMAGE, {"p": i64(0, 0, 2, 0, 0, 1, 1, 3)}),
    "pad negative": ([node("Pad", "x p")], IMAGE, {"p": i64(0, 0, -1, 1, 0, 0, 0, -2)}),
    "depth to space": ([node("DepthToSpace", blocksize=2)], ["n", 8, 2, 3], {}),
    "pixel shuffle": ([node("DepthToSpace", blocksize=2, mode="CRD")], ["n", 8, 2, 3], {}),
    "space to depth": ([node("SpaceToDepth", blocksize=2)], ["n", 2, 4, 6], {}),
    "cast to whole numbers": ([node("Mul", "x k", "s"), node("Cast", "s", "a", to=7), node("Cast", "a", to=1)], IMAGE, {"k": num(-7.5)}),
    "cast": ([node("Cast", "x", "a", to=11), node("Cast", "a", to=1)], IMAGE, {}),
    "conv transpose": ([node("ConvTranspose", "x w b", strides=[2, 3], pads=[1, 0, 0, 2], output_padding=[1, 2], dilations=[2, 1])], IMAGE, {"w": f32(2, 3, 3, 2), "b": f32(3)}),
    "conv transpose groups": ([node("ConvTranspose", "x w", group=2, strides=[2, 2])], IMAGE, {"w": f32(2, 3, 2, 2)}),
    "conv transpose same": ([node("ConvTranspose", "x w", strides=[2, 2], auto_pad="SAME_UPPER")], IMAGE, {"w": f32(2, 3, 3, 3)}),
    "conv transpose shape": ([node("ConvTranspose", "x w", strides=[2, 2], output_shape=[10, 12])], IMAGE, {"w": f32(2, 3, 3, 3)}),
    "conv transpose larger shape": ([node("ConvTranspose", "x w b", strides=[2, 3], output_shape=[12, 20])], IMAGE, {"w": f32(2, 3, 3, 3), "b": f32(3)}),
    "conv transpose same with a small kernel": ([node("ConvTranspose", "x w", strides=[4, 3], auto_pad="SAME_LOWER")], IMAGE, {"w": f32(2, 3, 3, 2)}),
    "nhwc": ([node("Sub", "x m", "a"), node("Div", "a s", "b"), node("Transpose", "b", "c", perm=[0, 3, 1, 2]), node("Conv", "c w")], ["n", 4, 5, 3], {"m": f32(3), "s": num(0.2), "w": f32(2, 3, 2, 2)}),
    "size": ([node("Size", "x", "s"), node("Cast", "s", "f", to=1), node("Div", "x f")], [1, 2, 3], {}),
    "reduce l1": ([node("ReduceL1", axes=[2], keepdims=0)], IMAGE, {}),
    "cumulative sum": ([node("CumSum", "x a")], IMAGE, {"a": np.array(2)}),
    "cumulative sum, reverse": ([node("CumSum", "x a", reverse=1)], IMAGE, {"a": np.array(-1)}),
    "cumulative sum, exclusive": ([node("CumSum", "x a", exclusive=1, reverse=1)], ["n", 4], {"a": np.array(1)}),
    "shrink": ([node("Shrink", bias=0.3, lambd=0.3)], IMAGE, {}),
    "sum pool": ([node("LpPool", p=1, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1])], IMAGE, {}),
    "sum pool same": ([node("LpPool", p=1, kernel_shape=[2, 3], auto_pad="SAME_LOWER")], IMAGE, {}),
    "flatten by shape": ([node("Shape", "x", "s"), node("Gather", "s i", "b", axis=0), node("Concat", "b m", "t", axis=0), node("Reshape", "x t")], IMAGE, {"i": i64(0), "m": i64(-1)}),
    "shape chain": ([node("Shape", "x", "s"), node("Slice", "s z o", "b"), node("ConstantOfShape", "b", "k"), node("Cast", "k", "l", to=1), node("Unsqueeze", "l o", "u"), node("Flatten", "x", "f"), node("Add", "f u")], IMAGE, {"z": i64(0), "o": i64(1)}),
    "range": ([node("Range", "a b c", "r"), node("Gather", "x r", axis=2)], IMAGE, {"a": np.array(0), "b": np.array(5), "c": np.array(2)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rule_agrees_with_onnx_runtime(name: str) -> None:
    nodes, shape, constants = CASES[name]
    opset = 18 if name == "pad axes" else 17
    agrees(model_of(nodes, shape, constants=constants, opset=opset))


@pytest.mark.parametrize("op", ["Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"])
def test_comparisons_of_whole_numbers_are_decided_by_bounds_of_a_point(op: str) -> None:
    """x - y is computed with errors: at its jump they would leave both answers open."""
    nodes = [
        node("Cast", "x", "a", to=7),
        node("Mul", "a two", "b"),
        node(op, "b threes", "c"),
        node("Cast", "c", to=1),
    ]
    constants = {"two": np.array(2), "threes": i64(2, 4, 6)}
    network = gp.from_proto(model_of(nodes, ["n", 3], constants=constants))
    rng = np.random.default_rng(0)
    x = rng.integers(-1, 5, (20, 3)).astype(np.float32)
    expected = run_original(network, x)
    assert np.array_equal(forward64(network, x)[0], expected)
    boxes = Boxes(x, x)
    with using_engine("graph"):
        margins = linear_bounds(network, boxes, pre_activation_bounds(network, boxes), np.eye(3))
    assert np.allclose(margins, expected, atol=1e-3)


OLD: dict[str, tuple[int, list[onnx.NodeProto], dict[str, np.ndarray]]] = {
    "clip": (7, [node("Clip", min=-0.3, max=0.4)], {}),
    "slice": (9, [node("Slice", starts=[1, 0], ends=[9, -1], axes=[2, 3])], {}),
    "split": (11, [node("Split", "x", "a b", axis=2, split=[2, 3]), node("ReduceSum", "b", "c", axes=[2]), node("Mul", "c k", "d"), node("Add", "a d")], {"k": f32(1)}),
    "pad": (10, [node("Pad", pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5)], {}),
    "squeeze": (11, [node("ReduceMean", "x", "a", axes=[1]), node("Squeeze", "a", axes=[1])], {}),
    "average": (7, [node("AveragePool", kernel_shape=[2, 2], pads=[1, 0, 0, 1])], {}),
    "max": (8, [node("Max", "x k")], {"k": f32(1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_attributes_of_old_opsets(name: str) -> None:
    opset, nodes, constants = OLD[name]
    agrees(model_of(nodes, IMAGE, opset=opset, constants=constants))


MATMULS: dict[str, tuple[list[Any], str, tuple[int, ...]]] = {
    "right": (["n", 2, 1, 4], "x w", (2, 4, 3)),
    "right, one more axis": (["n", 4], "x w", (2, 4, 3)),
    "right, two axes": (["n", 2, 3, 5, 4], "x w", (2, 3, 4, 2)),
    "right, an axis shared": (["n", 2, 3, 5, 4], "x w", (2, 1, 4, 2)),
    "right, an axis repeated": (["n", 1, 3, 5, 4], "x w", (2, 3, 4, 2)),
    "right, of rank four": ([2, 2, 5, 4], "x w", (1, 2, 4, 3)),
    "right, enlarged by one": (["n", 4], "x w", (1, 4, 3)),
    "right, no batch": ([4], "x w", (3, 4, 2)),
    "right, alike in a batch": ([3, 2, 4], "x same", (3, 4, 2)),
    "vector on the right": (["n", 3, 4], "x w", (4,)),
    "left": (["n", 2, 4, 3], "w x", (2, 5, 4)),
    "left, an axis shared": (["n", 2, 3, 4, 5], "w x", (3, 2, 4)),
    "left, no batch": ([4], "w x", (3, 5, 4)),
    "vector on the left": (["n", 3, 4], "w x", (3,)),
}


@pytest.mark.parametrize("name", MATMULS)
def test_matmul_of_batches(name: str) -> None:
    shape, inputs, size = MATMULS[name]
    same = np.broadcast_to(f32(*size[1:]), size) if len(size) > 1 else f32(*size)
    constants = {n: {"w": f32(*size), "same": same}[n] for n in inputs.split() if n != "x"}
    agrees(model_of([node("MatMul", inputs)], shape, constants=constants))


def test_matmul_of_a_constant_that_differs_along_the_batch_is_refused() -> None:
    model = model_of([node("MatMul", "x w")], [3, 2, 4], constants={"w": f32(3, 4, 2)})
    with pytest.raises(UnsupportedError, match=r"the MatMul y.*differs along the batch"):
        gp.from_proto(model)


REFUSED: list[tuple[list[onnx.NodeProto], dict[str, np.ndarray], str]] = [
    ([node("Relu", "x", "r"), node("Pow", "x r")], {}, "the Pow.*computed power"),
    ([node("Pow", "c x")], {"c": num(-2)}, "the Pow.*not positive"),
    ([node("Pow", "c x", "p"), node("Cast", "p", to=1)], {"c": np.array(2)}, "the Pow.*whole"),
    ([node("Pow", "x c")], {"c": num([2, 2, 2, 2, 2, 3])}, "the Pow.*one finite number"),
    ([node("Elu", alpha=-1.0)], {}, "the Elu.*alpha must be positive"),
    ([node("Selu", gamma=0.0)], {}, "the Selu.*must be positive"),
    ([node("Cast", "x", "a", to=9), node("Cast", "a", to=1)], {}, "the Cast.*BOOL"),
    ([node("Gather", "x i", axis=0)], {"i": i64(0)}, "the Gather.*batch axis"),
    ([node("MaxPool", kernel_shape=[9, 9])], {}, "the MaxPool.*larger"),
    ([node("Pad", "x p", mode="reflect")], {"p": i64(0, 0, 5, 0, 0, 0, 0, 0)}, "the Pad.*reflects"),
    ([node("Concat", "x x", axis=0)], {}, "the Concat.*batch axis"),
    ([node("ReduceSum", "x a")], {"a": i64(0)}, "the ReduceSum.*batch axis"),
    ([node("Shrink", bias=0.1, lambd=-0.3)], {}, "the Shrink.*its limit is below 0"),
    ([node("LpPool", kernel_shape=[2, 2])], {}, "the LpPool.*only p = 1"),
    ([node("CumSum", "x a")], {"a": np.array(0)}, "the CumSum.*batch axis"),
]


@pytest.mark.parametrize(("nodes", "constants", "said"), REFUSED)
def test_refusals_name_node_and_reason(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises(UnsupportedError, match=said):
        gp.from_proto(model_of(nodes, IMAGE, constants=constants))


@pytest.mark.parametrize(
    ("nodes", "constants"),
    [
        ([node("HardSigmoid", "x", "h"), node("Neg", "h")], {}),
        ([node("LeakyRelu", "x", "h"), node("Neg", "h")], {}),
        ([node("BatchNormalization", "x s b m v")], {n: num([1e-4, 1e-5]) for n in "sbmv"}),
    ],
)
def test_defaults_of_attributes_are_numbers_of_float32(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> None:
    """0.2 is 0.200000003 in every runtime, and in ONNX's reference."""
    network = gp.from_proto(model_of(nodes, ["n", 2], constants=constants))
    x = np.array([[-0.7, 0.9]], dtype=np.float32)
    exact = original64(network, x)
    assert np.abs(forward64(network, x)[0] - exact).max() <= 1e-12 * np.abs(exact).max()


def test_neurons_are_the_source_networks() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("MaxPool", "a", "b", kernel_shape=[2, 2], strides=[2, 2]),
        node("Clip", "b l h"),
    ]
    ends = {"l": num(0), "h": num(0.5)}
    network = agrees(model_of(nodes, [1, 2, 4, 4], constants=ends))
    assert network.neurons == 32 + 8
    assert network.auxiliary_neurons == 16 + 8 + 8
    assert network.live_neurons == network.neurons
    encloses(network, 0.01)


COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]  # fmt: skip
SCALES = np.array([1, 1, 2, 1.5], dtype=np.float32)
SHRINK = np.array([1, 1, 0.6, 0.5], dtype=np.float32)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_resize_by_scales(mode: str, coordinates: str) -> None:
    for scales in (SCALES, SHRINK):
        op = node("Resize", "x _ s", mode=mode, coordinate_transformation_mode=coordinates)
        agrees(model_of([op], IMAGE, constants={"s": scales}, opset=19))


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize_nearest_modes_by_sizes(nearest: str) -> None:
    op = node("Resize", "x _ _ s", mode="nearest", nearest_mode=nearest)
    agrees(model_of([op], [1, 2, 5, 6], constants={"s": i64(1, 2, 8, 4)}, opset=13))


def test_resize_crop_and_axes() -> None:
    roi = np.array([0.2, -0.3, 0.8, 1.1], dtype=np.float32)
    crop = node(
        "Resize", "x r s", mode="linear", axes=[2, 3], extrapolation_value=0.5,
        coordinate_transformation_mode="tf_crop_and_resize",
    )  # fmt: skip
    agrees(model_of([crop], IMAGE, constants={"r": roi, "s": SCALES[2:]}, opset=18))


def test_resize_cubic_excluding_the_outside() -> None:
    op = node("Resize", "x _ s", mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)
    agrees(model_of([op], IMAGE, constants={"s": SCALES}, opset=13))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [7, 9, 10])
def test_upsample(opset: int, mode: str) -> None:
    if opset == 7:
        model = model_of([node("Upsample", mode=mode, scales=[1.0, 1.0, 2.0, 3.0])], IMAGE, opset=7)
    else:
        op = node("Upsample" if opset == 9 else "Resize", "x s", mode=mode)
        scales = np.array([1, 1, 2, 3], dtype=np.float32)
        model = model_of([op], IMAGE, constants={"s": scales}, opset=opset)
    agrees(model)


def test_antialias_is_refused_where_it_matters() -> None:
    op = node("Resize", "x _ s", mode="linear", antialias=1)
    with pytest.raises(UnsupportedError, match="the Resize.*antialias"):
        gp.from_proto(model_of([op], IMAGE, constants={"s": SHRINK}, opset=18))


SMOOTH: list[tuple[list[onnx.NodeProto], dict[str, np.ndarray]]] = [
    ([node("Sigmoid")], {}),
    ([node("Tanh")], {}),
    ([node("Mul", "x k", "a"), node("Softplus", "a", "b"), node("Div", "b k")], {"k": num(2)}),
    ([node("Gelu")], {}),
    ([node("Gelu", approximate="tanh")], {}),
    *(([node(op)], {}) for op in ("Erf", "Exp", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Softsign",
                                  "HardSwish", "Mish", "Elu", "Selu", "Celu")),
    ([node("Elu", alpha=0.3)], {}), ([node("Celu", alpha=0.3)], {}),
    ([node("Selu", alpha=0.3, gamma=1.3)], {}),
    ([node("Mul", "x x")], {}), ([node("Pow", "x k")], {"k": num(2)}),
    ([node("Pow", "x k")], {"k": num(3)}), ([node("Pow", "k x")], {"k": num(2)}),
]  # fmt: skip
POSITIVE: list[tuple[list[onnx.NodeProto], dict[str, np.ndarray]]] = [
    *(([node(op, "e")], {}) for op in ("Log", "Sqrt", "Reciprocal")),
    ([node("Div", "k e")], {"k": num(2)}), ([node("Pow", "e k")], {"k": num(0.7)}),
    ([node("Pow", "e k")], {"k": num(-2)}),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(SMOOTH)))
def test_smooth_activations_are_kept(case: int) -> None:
    nodes, constants = SMOOTH[case]
    # A decreasing function stays below; an increasing one would be cut as a head.
    below = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    below[-1].output[0] = "s"
    network = agrees(model_of([*below, node("Neg", "s")], ["n", 5], constants=constants, opset=20))
    assert (network.neurons, network.auxiliary_neurons) == (5, 0)


PRODUCTS: dict[str, list[onnx.NodeProto]] = {
    "two values": [node("Relu", "x", "r"), node("Sin", "x", "s"), node("Mul", "r s")],
    "glu": [node("Split", "x", "a b", axis=1), node("Sigmoid", "b", "g"), node("Mul", "a g")],
    "excitation": [node("ReduceMean", "x", "m", axes=[1]), node("HardSigmoid", "m", "g"),
                   node("Mul", "x g")],
    "quotient": [node("Exp", "x", "e"), node("Sin", "x", "s"), node("Div", "s e")],
    "softmax": [node("Exp", "x", "e"), node("ReduceSum", "e one", "t"), node("Div", "e t")],
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_and_quotients_are_differences_of_squares(name: str) -> None:
    constants = {"one": np.array([1])} if name == "softmax" else {}
    model = model_of([*PRODUCTS[name], node("Cos", "y", "c")], ["n", 6], ["c"], constants=constants)
    agrees(model)


@pytest.mark.parametrize("case", range(len(POSITIVE)))
def test_functions_of_positive_numbers_are_kept(case: int) -> None:
    nodes, constants = POSITIVE[case]
    whole = [node("Exp", "x", "e"), *nodes, node("Sin", "y", "s")]
    assert agrees(model_of(whole, ["n", 5], ["s"], constants=constants)).neurons == 15


def test_swish_of_the_newest_opset() -> None:
    for alpha in (1.0, 1.7, 0.0):
        model = model_of([node("Swish", alpha=alpha)], ["n", 5], opset=24)
        assert agrees(model).neurons == 5 * (alpha != 0.0)


EINSUMS: dict[str, tuple[list[Any], tuple[int, ...]]] = {
    "bi,oi->bo": (["n", 4], (3, 4)),
    "bi,io": (["n", 4], (4, 3)),
    "oi,bi->bo": (["n", 4], (3, 4)),
    "bchw,oc->bohw": (["n", 2, 5, 6], (3, 2)),
    "bchw,ochw->bo": (["n", 2, 3, 4], (3, 2, 3, 4)),
    "bthd,hdo->bto": (["n", 3, 2, 4], (2, 4, 5)),
    "bti,oi->bot": (["n", 3, 4], (2, 4)),
    "bi,io->ob": (["n", 4], (4, 3)),
    "btc,oz->bot": (["n", 3, 4], (2, 5)),
    "b i , z -> b i": (["n", 4], (3,)),
    "bchw->bhwc": (["n", 2, 3, 4], ()),
    "bchw->bc": (["n", 2, 3, 4], ()),
}


@pytest.mark.parametrize("equation", EINSUMS)
def test_einsum(equation: str) -> None:
    shape, constant = EINSUMS[equation]
    first = equation.startswith("oi")
    inputs = "x" if not constant else "w x" if first else "x w"
    op = node("Einsum", inputs, equation=equation)
    # A class vector last: what comes out may have its batch anywhere.
    agrees(model_of([op], shape, constants={"w": f32(*constant)} if constant else {}))


@pytest.mark.parametrize(
    ("equation", "inputs", "said"),
    [
        ("bi,i->bi", "x v", "keeps axis 'i' of both"),
        ("bi,bi,oi->bo", "x x w", "more than two operands"),
        ("bi,bo->io", "x u", "contracts the batch"),
        ("ii->i", "x", "does not name every axis"),
        ("...i,oi->...o", "x w", "name every axis"),
    ],
)
def test_other_einsums_are_refused(equation: str, inputs: str, said: str) -> None:
    constants = {"v": f32(4), "w": f32(4, 4), "u": f32(1, 4)}
    shape = [1 if "u" in inputs else 4, 4]
    model = model_of([node("Einsum", inputs, equation=equation)], shape, constants=constants)
    with pytest.raises(UnsupportedError, match=f"the Einsum y.*{said}"):
        gp.from_proto(model)


def test_batch_normalisation_of_old_opsets_in_training_is_refused() -> None:
    """More outputs than one say it there."""
    constants = {n: np.ones(2, np.float32) for n in ("scale", "bias", "mean", "var")}
    more = node("BatchNormalization", "x scale bias mean var", "y m v sm sv")
    with pytest.raises(UnsupportedError, match="is in training mode"):
        gp.from_proto(model_of([more], ["n", 2], opset=9, constants=constants))
    agrees(
        model_of(
            [node("BatchNormalization", "x scale bias mean var")], ["n", 2], opset=9,
            constants=constants,
        )
    )  # fmt: skip
