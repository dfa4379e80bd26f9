"""ArgMax between layers, and what reads it, against ONNX Runtime; ties, intervals, refusals."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import graphprune as gp
from graphprune.errors import UnsupportedError
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.canonical.models import agrees, model_of, node

RNG = np.random.default_rng(0)
VALUES = {"d": np.array([3]), "v": np.array([-1.0, 2.0], np.float32)}
TABLE = {"t": RNG.normal(size=(4, 2)).astype(np.float32)}
FLOAT = node("Cast", "i", to=TensorProto.FLOAT)
CASES: dict[str, tuple[list[onnx.NodeProto], list[Any], dict[str, np.ndarray]]] = {
    "number": ([node("ArgMax", "x", "i", axis=1), FLOAT], ["n", 3, 2], {}),
    "smallest": ([node("ArgMin", "x", "i", axis=-1, keepdims=0), FLOAT], ["n", 2, 4], {}),
    "of one": ([node("ArgMax", "x", "i", axis=1), FLOAT], ["n", 1, 2], {}),
    "one hot": ([node("ArgMax", "x", "i", axis=1, keepdims=0), node("OneHot", "i d v")], ["n", 3], VALUES),
    "one hot, first axis": ([node("ArgMax", "x", "i", axis=2, keepdims=0), node("OneHot", "i d v", axis=1)], ["n", 2, 3], VALUES),
    "one hot, deeper": ([node("ArgMax", "x", "i", axis=1), node("Cast", "i", "j", to=TensorProto.INT64), node("OneHot", "j d v")], ["n", 2], VALUES),
    "row": ([node("ArgMax", "x", "i", axis=1, keepdims=0), node("Gather", "t i")], ["n", 4], TABLE),
    "number of a list": ([node("ArgMax", "x", "i", axis=1), node("Gather", "t i")], ["n", 4], {"t": TABLE["t"][:, 0]}),
    "equal": ([node("ArgMax", "x", "i", axis=1, keepdims=0), node("Equal", "i d", "e"), node("Cast", "e", to=1)], ["n", 3], {"d": np.array([1])}),
    "hardmax": ([node("Hardmax", "x")], ["n", 2, 4], {}),
    "hardmax, first axis": ([node("Hardmax", "x", "h", axis=1), node("Relu", "h")], ["n", 3, 2], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_equals_onnx_runtime(case: str) -> None:
    nodes, shape, constants = CASES[case]
    agrees(model_of(nodes, shape, constants=constants))


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_ties_go_to_the_first_or_last(op: str, last: int) -> None:
    made = node(op, "x", "i", axis=1, keepdims=0, select_last_index=last)
    network = gp.from_proto(model_of([made, FLOAT], ["n", 3, 2]))
    x = RNG.integers(0, 2, (40, 3, 2)).astype(np.float32)
    assert np.array_equal(forward64(network, x)[0], run_original(network, x))


def test_an_old_hardmax_runs_over_all_axes_from_its_own_on() -> None:
    agrees(model_of([node("Hardmax", "x", "h"), node("Relu", "h")], ["n", 3, 2], opset=11))
    model = model_of([node("Hardmax", "x", "h", axis=2)], ["n", 3, 2], "h", opset=11)
    network = gp.from_proto(model)
    x = RNG.integers(0, 2, (40, 3, 2)).astype(np.float32)
    assert np.array_equal(forward64(network, x)[0], run_original(network, x))


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("Add", "i i", "j"), node("OneHot", "j d v")], "not by an ArgMax right below"),
        ([node("Div", "i d", "j"), node("Cast", "j", to=1)], "rounds what it computes of whole"),
        ([node("Gather", "v i", "g"), node("Cast", "x", "k", to=TensorProto.INT64), node("OneHot", "k d v")], "its indices are computed, and not by an ArgMax right below"),
    ],
)  # fmt: skip
def test_other_whole_numbers_are_refused(nodes: list[onnx.NodeProto], said: str) -> None:
    first = node("ArgMax", "x", "i", axis=1)
    with pytest.raises(UnsupportedError, match=said):
        gp.from_proto(model_of([first, *nodes], ["n", 2], constants=VALUES))


def test_tables_of_pairs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="compares every pair of 40000 cells"):
        gp.from_proto(model_of([node("ArgMax", "x", "i", axis=1), FLOAT], ["n", 40_000]))
