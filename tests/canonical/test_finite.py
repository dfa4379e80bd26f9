"""Infinite and NaN numbers are judged where they are used."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.errors import ModelError, UnsupportedError
from tests.canonical.models import agrees, model_of, node
from tests.canonical.test_fold import f32, i64

INF = float(np.inf)
IMAGE = ["n", 2, 6, 7]


def num(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def test_what_nobody_reads_does_not_count() -> None:
    unread = {"a": f32(np.nan), "b": f32(np.inf)}
    dead = [node("Add", "x b", "dead"), node("Relu")]
    agrees(model_of(dead, ["n", 3], constants=unread))


@pytest.mark.parametrize("opset", [10, 17])
@pytest.mark.parametrize("between", [[], [node("Identity", "p", "q")]])
def test_a_pool_may_be_padded_by_minus_infinity(opset: int, between: list[onnx.NodeProto]) -> None:
    """PyTorch's MaxPool with ceil_mode, and Keras's with padding='same'."""
    pads = [0, 0, 0, 1, 0, 0, 2, 1]
    pad = (
        node("Pad", "x pads v", "p") if opset > 10 else node("Pad", "x", "p", pads=pads, value=-INF)
    )
    pool = node("MaxPool", "q" if between else "p", kernel_shape=[3, 3], strides=[2, 2])
    constants = {"pads": i64(*pads), "v": num(-INF)} if opset > 10 else {}
    agrees(model_of([pad, *between, pool], IMAGE, opset=opset, constants=constants))


def test_others_may_not_read_the_padding() -> None:
    constants = {"pads": i64(0, 1, 0, 1), "v": num(-INF)}
    pad = node("Pad", "x pads v", "p")
    with pytest.raises(ModelError, match="the Relu y.*holds -inf, which only a MaxPool"):
        gp.from_proto(model_of([pad, node("Relu", "p")], ["n", 3], constants=constants))
    with pytest.raises(ModelError, match="-inf for every input"):
        gp.from_proto(model_of([pad], ["n", 3], "p", constants=constants))


@pytest.mark.parametrize(
    ("op", "ends"),
    [
        ("Max", f32(-np.inf)),
        ("Min", f32(np.inf)),
        ("Max", f32(-np.inf, 0.25, -np.inf)),
        ("Min", f32(np.inf, 0.25, -1)),
    ],
)
def test_maxima_of_minus_infinity(op: str, ends: np.ndarray) -> None:
    agrees(model_of([node(op, "x c")], ["n", 3], constants={"c": ends}))


@pytest.mark.parametrize(
    ("mask", "constant"),
    [
        ([True, True, True], f32(-np.inf, np.nan, np.inf)),
        ([True, False, True], f32(np.nan, 2, -np.inf)),
        ([False, False, False], f32(1, 2, 3)),
    ],
)
def test_a_branch_that_is_never_taken(mask: list[bool], constant: np.ndarray) -> None:
    constants = {"m": np.array(mask), "c": constant}
    agrees(model_of([node("Where", "m x c")], ["n", 3], constants=constants))


def test_neither_is_a_computed_branch() -> None:
    nodes = [node("Add", "x c", "d"), node("Where", "m x d")]
    constants = {"m": np.array([True, True, True]), "c": f32(np.inf)}
    agrees(model_of(nodes, ["n", 3], constants=constants))


def test_infinite_constants_that_fold_away() -> None:
    """The mask of an attention, written out by an exporter: 0 where it is -inf."""
    nodes = [node("IsInf", "c", "i"), node("Where", "i zero c", "d"), node("Add", "x d")]
    constants = {"c": f32(-np.inf, 1, 2), "zero": num(0)}
    agrees(model_of(nodes, ["n", 3], constants=constants))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("Add", "x c")], "initialiser 'c' holds infinite.*the Add y"),
        ([node("Mul", "x n")], "initialiser 'n' holds NaN.*the Mul y"),
        ([node("Mul", "c zero", "d"), node("Add", "x d")], "constant 'd' holds NaN.*the Add y"),
        ([node("Max", "x c")], "initialiser 'c' holds infinite.*the Max y"),
        ([node("Clip", "x c")], "initialiser 'c' holds infinite.*the Clip y"),
        ([node("Clip", "x n")], "initialiser 'n' holds NaN.*the Clip y"),
        ([node("Where", "m x c")], "initialiser 'c' holds infinite.*the Where y"),
        ([node("LeakyRelu", alpha=float("nan")), node("Add", "y x", "z")], "the LeakyRelu y.*NaN"),
    ],
)  # fmt: skip
def test_what_is_used_is_refused(nodes: list[onnx.NodeProto], said: str) -> None:
    constants = {
        "c": num(INF),
        "n": num(np.nan),
        "zero": num(0),
        "m": np.array([True, False, True]),
    }
    out = nodes[-1].output[0]
    with pytest.raises(ModelError, match=said):
        gp.from_proto(model_of(nodes, ["n", 3], out, constants=constants))


def test_no_integer_is_made_of_infinity() -> None:
    nodes = [
        node("Cast", "c", "i", to=TensorProto.INT64),
        node("Cast", "i", "d", to=1),
        node("Add", "x d"),
    ]
    with pytest.raises(ModelError, match="the Cast i.*integers of infinite or NaN"):
        gp.from_proto(model_of(nodes, ["n", 3], constants={"c": num(INF)}))


def test_attributes_count_too() -> None:
    weight = numpy_helper.from_array(f32(np.nan), "w")
    model = model_of(
        [helper.make_node("Constant", [], ["c"], value=weight), node("Add", "x c")], ["n", 3]
    )
    with pytest.raises(ModelError, match="constant 'c' holds NaN"):
        gp.from_proto(model)


@pytest.mark.parametrize(
    "pads", [(0, 1, 0, 0, 0, 0, 0, 0), (0, 1, 1, 1, 0, 0, 1, 1)], ids=["alone", "with others"]
)
def test_a_pool_does_not_forget_channels_of_minus_infinity(pads: tuple[int, ...]) -> None:
    nodes = [
        node("Pad", "x pads low", "p"), node("MaxPool", "p", "m", kernel_shape=[2, 2]),
        node("Clip", "m end"),
    ]  # fmt: skip
    constants = {"pads": i64(*pads), "low": num(-INF), "end": num(-1)}
    with pytest.raises(UnsupportedError, match="the MaxPool m.*-inf across its channels"):
        gp.from_proto(model_of(nodes, IMAGE, constants=constants))
