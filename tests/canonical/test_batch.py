"""The batch that stands for any: what repeats a constant for every sample, and what is said."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import graphprune as gp
from graphprune.canonical.batch import unbound
from graphprune.errors import UnsupportedError
from tests.canonical.models import agrees, model_of, node
from tests.canonical.test_fold import f32, i64

SIZE = [node("Shape", "x", "shape"), node("Slice", "shape zero one", "n")]
INTS = {"zero": i64(0), "one": i64(1)}


def of_batch(*rest: int, value: float = 0.5) -> list[onnx.NodeProto]:
    """``c``: torch.full((x.size(0), *rest), value)."""
    tensor = numpy_helper.from_array(f32(value))
    return [
        *SIZE,
        node("Constant", "", "rest", value=numpy_helper.from_array(i64(*rest))),
        node("Concat", "n rest", "full", axis=0),
        node("ConstantOfShape", "full", "c", value=tensor),
    ]


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub", "Max"])
def test_constants_of_the_batch_combine_with_values(op: str) -> None:
    agrees(model_of([*of_batch(4), node(op, "x c")], ["n", 4], constants=INTS))


def test_a_shortcut_of_zeros_may_be_large() -> None:
    """Option A of a residual network: zeros in new channels, 10007 times 2 MiB as one tensor."""
    nodes = [
        *of_batch(256, 32, 32, value=0.0), node("Concat", "x c", "wide", axis=1),
        node("GlobalAveragePool", "wide"),
    ]  # fmt: skip
    network = gp.from_proto(model_of(nodes, ["n", 2, 32, 32], constants=INTS))
    assert network.classes == 258


def test_constants_of_the_batch_combine_among_themselves() -> None:
    nodes = [
        *of_batch(3, 2), node("Add", "c bias", "d"), node("Mul", "d c", "e"),
        node("Transpose", "e", "f", perm=[0, 2, 1]), node("Greater", "f half", "g"),
        node("Where", "g x h", "w"), node("Cast", "g", "i", to=TensorProto.FLOAT),
        node("Add", "w i"),
    ]  # fmt: skip
    more = {"bias": f32(0, 1, 2).reshape(3, 1), "half": f32(0.5), "h": f32(7)}
    agrees(model_of(nodes, ["n", 2, 3], constants=INTS | more))


@pytest.mark.parametrize("op", ["Expand", "Tile"])
def test_a_token_in_front_of_every_sample(op: str) -> None:
    """The class token of a transformer."""
    times = "ones" if op == "Expand" else "repeats"
    nodes = [
        *SIZE, node("Concat", f"n {times}", "to", axis=0), node(op, "token to", "tokens"),
        node("Concat", "tokens x", axis=1),
    ]  # fmt: skip
    more = {"ones": i64(1, 3), "repeats": i64(1, 1), "token": f32(1, 2, 3).reshape(1, 1, 3)}
    agrees(model_of(nodes, ["n", 4, 3], constants=INTS | more))


def test_messages_call_the_batch_by_its_name() -> None:
    reshape = model_of([node("Reshape", "x t")], ["batch", 2, 4], constants={"t": i64(3, 8)})
    with pytest.raises(UnsupportedError, match=r"cannot reshape \(batch, 2, 4\) to \(3, 8\)"):
        gp.from_proto(reshape)
    label = model_of(
        [node("Softmax", "x", "p", axis=1), node("ArgMax", "p", axis=1)], ["batch", 3, 8],
        kinds={"y": 7},
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"axis 1 of \(batch, 3, 8\)"):
        gp.from_proto(label)


def test_only_the_batch_is_renamed() -> None:
    said = unbound("(10007, 3) and 20014 of 100070, 110007, w10007, 1.10007 and 10007.5", "n")
    assert said == "(n, 3) and 2*n of 10*n, 110007, w10007, 1.10007 and 10007.5"
    assert unbound("axis 10007.") == "axis N."


def test_a_resize_leaves_the_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpolation matrix over the batch took 800 MB."""
    largest = []
    eye = np.eye
    monkeypatch.setattr(np, "eye", lambda n, *more: largest.append(n) or eye(n, *more))  # type: ignore[func-returns-value]
    nodes = [node("Resize", "x _ s", mode="linear", coordinate_transformation_mode="asymmetric")]
    agrees(model_of(nodes, ["n", 2, 3, 4], constants={"s": f32(1, 1, 2, 2)}))
    assert max(largest, default=0) < 1000


COUNT = [node("Cast", "n", "count", to=TensorProto.FLOAT)]


@pytest.mark.parametrize(
    "last",
    [
        [node("Add", "c count", "d")],
        [node("Expand", "count full", "d")],
        [node("Expand", "count wide", "d")],
    ],
    ids=["repeated", "expanded", "large"],
)
def test_the_size_of_the_batch_is_not_repeated(last: list[onnx.NodeProto]) -> None:
    """The number that stands for the batch came into the network."""
    width = 1025 * 1025 if "wide" in last[0].input else 4
    nodes = [*of_batch(4), *COUNT, *last, node("ReduceMean", "d", "m", axes=[-1])]
    model = model_of([*nodes, node("Add", "x m")], ["n", 4], constants=INTS | {"wide": i64(width)})
    with pytest.raises(UnsupportedError, match="from the size of the batch"):
        gp.from_proto(model)


@pytest.mark.parametrize("op", ["RandomUniformLike", "RandomNormalLike", "Bernoulli"])
def test_random_numbers_of_every_sample_are_refused(op: str) -> None:
    nodes = [*of_batch(4), node(op, "c", "noise"), node("Add", "x noise")]
    with pytest.raises(UnsupportedError, match=f"the {op} noise.*draws random numbers"):
        gp.from_proto(model_of(nodes, ["n", 4], constants=INTS))


@pytest.mark.parametrize("jump", ["Floor", "Cast", "CastLike"])
def test_repeated_numbers_jump_in_the_file_s_types(jump: str) -> None:
    """1.4 * 10 is 14 in float32."""
    attributes: dict[str, Any] = {"to": TensorProto.INT64} if jump == "Cast" else {}
    nodes = [
        *of_batch(4, value=1.4), node("Mul", "c ten", "d"),
        node(jump, "d zero" if jump == "CastLike" else "d", "e", **attributes),
        node("Cast", "e", "f", to=TensorProto.FLOAT), node("Add", "x f"),
    ]  # fmt: skip
    agrees(model_of(nodes, ["n", 4], constants=INTS | {"ten": f32(10)}))


@pytest.mark.parametrize(
    ("mixing", "said"),
    [
        (node("CumSum", "c first", "d"), "batch"),
        (node("Softmax", "c", "d", axis=0), "Softmax"),
        (node("LpNormalization", "c", "d", axis=0), "LpNormalization"),
    ],
    ids=["CumSum", "Softmax", "LpNormalization"],
)
def test_repeated_numbers_of_several_samples_do_not_mix(mixing: onnx.NodeProto, said: str) -> None:
    nodes = [*of_batch(4), mixing, node("Add", "x d")]
    model = model_of(nodes, ["n", 4], constants=INTS | {"first": i64(0)[0]})
    with pytest.raises(UnsupportedError, match=said):
        gp.from_proto(model)
