"""Which of several outputs is taken without being named."""

from typing import Any

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.errors import UnsupportedError
from tests.canonical.models import model_of, node

CONSTANTS = {
    "w": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32),
    "zero": np.zeros(3, np.float32), "two": np.full(3, 2, np.float32),
}  # fmt: skip
CASES: dict[str, list[onnx.NodeProto]] = {
    "a constant": [node("Identity", "two", "c")],
    "times zero": [node("Mul", "y zero", "c")],
    "a dead layer": [node("Sub", "y y", "d"), node("Relu", "d", "c")],
    "a shape": [node("Shape", "y", "s"), node("Cast", "s", "c", to=1)],
    "zeros per sample": [node("Shape", "x", "s"), node("ConstantOfShape", "s", "c")],
}


def two_outputs(others: list[onnx.NodeProto]) -> onnx.ModelProto:
    nodes: list[Any] = [node("MatMul", "x w", "y"), *others]
    return model_of(nodes, ["n", 4], outputs=["y", "c"], constants=CONSTANTS)


@pytest.mark.parametrize("name", CASES)
def test_an_output_that_no_input_changes_is_not_the_scores(name: str) -> None:
    assert gp.from_proto(two_outputs(CASES[name])).source.file_output == "y"


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_a_label_cast_to_a_float_is_not_the_scores(op: str) -> None:
    label = [node(op, "y", "a", axis=1), node("Cast", "a", "b", to=1), node("Flatten", "b", "c")]
    assert gp.from_proto(two_outputs(label)).source.file_output == "y"


def test_a_prediction_cast_to_floats_is_not_the_scores() -> None:
    truth = [node("Greater", "y zero", "t"), node("Cast", "t", "c", to=1)]
    assert gp.from_proto(two_outputs(truth)).source.file_output == "y"


def test_a_copy_is_the_same_output() -> None:
    copied = two_outputs([node("Identity", "y", "d"), node("Identity", "d", "c")])
    assert gp.from_proto(copied).classes == 3


@pytest.mark.parametrize("op", ["Neg", "Sin"])
def test_two_outputs_that_change_need_a_name(op: str) -> None:
    """The second one is not even supported, and yet might be what is meant."""
    with pytest.raises(UnsupportedError, match=r"several outputs .* name one"):
        gp.from_proto(two_outputs([node(op, "y", "c")]))
