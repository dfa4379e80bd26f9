"""Constants that are computed: in whose types, and what hangs on the size of the batch."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import graphprune as gp
from graphprune.errors import GraphpruneError, ModelError, UnsupportedError
from tests.canonical.models import agrees, model_of, node

IMAGE = ["n", 2, 10, 20]


def f32(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32)


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def head(of: str, *, channels: int = 2) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """The mean of every channel and two scores of them: hides the size of the image."""
    weights = np.random.default_rng(0).normal(size=(channels, 3)).astype(np.float32)
    nodes = [node("GlobalAveragePool", of, "p"), node("Flatten", "p", "f"), node("MatMul", "f w")]
    return nodes, {"w": weights}


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factor", [0.7, 0.9, 1.4, 2.3])
def test_resizes_by_a_factor_have_the_runtime_s_size(factor: float, mode: str) -> None:
    """10 * 1.4 is 14 in float32, and 13.99999976 with a factor widened before."""
    nodes, constants = head("r")
    agrees(
        model_of(
            [node("Resize", "x _ s", "r", mode=mode), *nodes], IMAGE,
            constants=constants | {"s": f32(1, 1, factor, factor)},
        )
    )  # fmt: skip


@pytest.mark.parametrize("factor", [0.7, 1.4, 2.3])
def test_sizes_are_computed_in_the_file_s_types(factor: float) -> None:
    """What the legacy exporter writes of ``interpolate(recompute_scale_factor=True)``."""
    nodes, constants = head("r")
    steps = [
        node("Shape", "x", "shape"),
        node("Slice", "shape two four zero", "size"),
        node("Cast", "size", "float", to=TensorProto.FLOAT),
        node("Mul", "float factor", "scaled"),
        node("Floor", "scaled", "floored"),
        node("Cast", "floored", "new", to=TensorProto.INT64),
        node("Slice", "shape zero two zero", "front"),
        node("Concat", "front new", "sizes", axis=0),
        node("Resize", "x _ _ sizes", "r", mode="linear"),
    ]
    more = {"factor": f32(factor), "zero": i64(0), "two": i64(2), "four": i64(4)}
    agrees(model_of([*steps, *nodes], IMAGE, constants=constants | more))


def test_opset_10_rounds_up_where_it_shrinks() -> None:
    nodes, constants = head("r")
    resized = node("Resize", "x s", "r", mode="nearest")
    agrees(
        model_of(
            [resized, *nodes], IMAGE, opset=10, constants=constants | {"s": f32(1, 1, 0.45, 0.7)}
        )
    )


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("RandomNormal", {"shape": [1, 3]}),
        ("RandomUniform", {"shape": [1, 3]}),
        ("RandomNormalLike", {}),
        ("Bernoulli", {}),
    ],
)
def test_random_numbers_are_no_constants(op: str, attributes: dict[str, Any]) -> None:
    inputs = "c" if op in ("RandomNormalLike", "Bernoulli") else ""
    nodes = [node(op, inputs, "noise", **attributes), node("Add", "x noise")]
    model = model_of(nodes, ["n", 3], constants={"c": f32(0.5, 0.5, 0.5)})
    with pytest.raises(UnsupportedError, match=f"the {op} noise.*draws random numbers"):
        gp.from_proto(model)


def test_dropout_of_a_constant_in_training_is_refused() -> None:
    nodes = [node("Dropout", "c ratio training", "noise"), node("Add", "x noise")]
    constants = {"c": f32(1, 2, 3), "ratio": f32(0.5)[0], "training": np.array(True)}
    with pytest.raises(UnsupportedError, match=r"eval\(\)"):
        gp.from_proto(model_of(nodes, ["n", 3], constants=constants))


@pytest.mark.parametrize("cast", ["Cast", "CastLike"])
@pytest.mark.parametrize("op", ["Mul", "Add", "Div"])
def test_the_size_of_the_batch_is_no_number_to_compute_with(op: str, cast: str) -> None:
    to: dict[str, Any] = {"to": TensorProto.FLOAT} if cast == "Cast" else {}
    nodes = [
        node("Shape", "x", "shape"), node("Gather", "shape zero", "n"),
        node(cast, "n" if to else "n x", "count", **to), node(op, "x count"),
    ]  # fmt: skip
    model = model_of(nodes, ["n", 3], constants={"zero": i64(0)[0]})
    with pytest.raises(UnsupportedError, match=f"the {op} y.*from the size of the batch"):
        gp.from_proto(model)
    # With a batch of one it is a number like any other.
    one = model_of(nodes, [1, 3], constants={"zero": i64(0)[0]})
    agrees(one)


def test_other_sizes_and_shapes_are_as_before() -> None:
    """The width as a factor, the batch in a shape and at the end of a slice of itself."""
    nodes = [
        node("Shape", "x", "shape"), node("Gather", "shape one", "width"),
        node("Cast", "width", "count", to=TensorProto.FLOAT), node("Div", "x count", "d"),
        node("Slice", "shape zero first zero", "n"), node("Slice", "d zero n zero", "s"),
        node("Concat", "n rest", "new", axis=0), node("Reshape", "s new"),
    ]  # fmt: skip
    constants = {"zero": i64(0), "one": i64(1)[0], "first": i64(1), "rest": i64(-1)}
    agrees(model_of(nodes, ["n", 4], constants=constants))


def test_the_batch_ends_no_slice_of_another_axis() -> None:
    nodes = [
        node("Shape", "x", "shape"), node("Slice", "shape zero one zero", "n"),
        node("Slice", "x zero n one"),
    ]  # fmt: skip
    model = model_of(nodes, ["n", 4], constants={"zero": i64(0), "one": i64(1)})
    with pytest.raises(UnsupportedError, match="from the size of the batch"):
        gp.from_proto(model)


def test_a_cast_like_takes_the_other_s_type() -> None:
    like = [node("CastLike", "x c")]
    with pytest.raises(UnsupportedError, match="holds truths, which are no scores"):
        gp.from_proto(
            model_of(
                like, ["n", 3], constants={"c": np.array([True])}, kinds={"y": TensorProto.BOOL}
            )
        )
    agrees(model_of(like, ["n", 3], constants={"c": i64(1)}, kinds={"y": TensorProto.INT64}))
    agrees(model_of(like, ["n", 3], constants={"c": f32(1)}))
    # What the dynamo exporter writes of ``alpha * x``.
    scaled = [node("CastLike", "c x", "alpha"), node("Mul", "x alpha")]
    agrees(model_of(scaled, ["n", 3], constants={"c": np.array(2.5, np.float64)}))


def test_ends_of_a_clip_may_be_infinite() -> None:
    clip = node("Clip", "x low high")
    agrees(model_of([clip], ["n", 3], constants={"low": f32(0)[0], "high": f32(np.inf)[0]}))
    high = node("Constant", "", "high", value=onnx.numpy_helper.from_array(f32(np.inf)[0]))
    agrees(model_of([high, clip], ["n", 3], constants={"low": f32(0)[0]}))
    for bad, said in ((np.nan, "NaN"), (np.inf, "infinite")):
        add = node("Add", "x c")
        with pytest.raises(ModelError, match=said):
            gp.from_proto(model_of([add], ["n", 1], constants={"c": f32(bad)}))
    both = [clip, node("Add", "y high", "z")]
    with pytest.raises(ModelError, match="infinite"):
        gp.from_proto(
            model_of(both, ["n", 3], "z", constants={"low": f32(0)[0], "high": f32(np.inf)[0]})
        )


def test_sparse_tensors_are_named() -> None:
    values = onnx.numpy_helper.from_array(f32(1.0), "values")
    sparse = onnx.helper.make_sparse_tensor(values, onnx.numpy_helper.from_array(i64(1), "at"), [3])
    constant = onnx.helper.make_node(
        "Constant", [], ["c"], name="the constant", sparse_value=sparse
    )
    model = model_of([constant, node("Add", "x c")], ["n", 3])
    with pytest.raises(GraphpruneError, match="'the constant'.*sparse.*store it densely"):
        gp.from_proto(model)
    model = model_of([node("Add", "x values")], ["n", 3])
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(GraphpruneError, match="'values'.*sparse.*store it densely"):
        gp.from_proto(model)


def of_jump(op: str, second: str = "", **attributes: Any) -> list[onnx.NodeProto]:
    """``x + op(c * ten)``, whose product is 14 in float32 and less in float64."""
    return [
        node("Mul", "c ten", "d"), node(op, f"d {second}".strip(), "e", **attributes),
        node("Cast", "e", "f", to=TensorProto.FLOAT), node("Add", "x f"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "nodes",
    [
        of_jump("CastLike", "one"), of_jump("ThresholdedRelu", alpha=13.9999998),
        of_jump("Shrink", lambd=14.0), of_jump("Hardmax"), of_jump("QuantizeLinear", "fine zp"),
    ],
    ids=lambda nodes: nodes[1].op_type,
)  # fmt: skip
def test_what_jumps_is_computed_in_the_file_s_types(nodes: list[onnx.NodeProto]) -> None:
    constants = {
        "c": f32(1.4, 14, 0.7), "ten": f32(10, 1, 10), "one": i64(1),
        "fine": f32(4)[0], "zp": np.array(0, np.uint8),
    }  # fmt: skip
    agrees(model_of(nodes, ["n", 3], constants=constants))


@pytest.mark.parametrize("cast", ["Cast", "CastLike"])
def test_integers_of_infinite_numbers_are_refused(cast: str) -> None:
    to: dict[str, Any] = {"to": TensorProto.INT64} if cast == "Cast" else {}
    nodes = of_jump(cast, "" if to else "one", **to)
    constants = {"c": f32(np.inf), "ten": f32(10), "one": i64(1)}
    with pytest.raises(ModelError, match=f"the {cast} e.*integers of infinite"):
        gp.from_proto(model_of(nodes, ["n", 3], constants=constants))
