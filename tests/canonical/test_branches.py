"""``If`` of a constant condition."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphprune as gp
from graphprune.errors import UnsupportedError
from tests.canonical.models import agrees, model_of, node
from tests.canonical.test_fold import f32, i64


def branch(*nodes: onnx.NodeProto, out: str, **tensors: np.ndarray) -> onnx.GraphProto:
    values = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    outputs = [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)]
    return helper.make_graph(list(nodes), out, [], outputs, values)


def choice(
    condition: str, then: onnx.GraphProto, other: onnx.GraphProto, out: str = "y"
) -> onnx.NodeProto:
    return helper.make_node(
        "If", [condition], [out], name=f"the If {out}", then_branch=then, else_branch=other
    )


SQUEEZE = [
    node("Relu", "x", "r"), node("Shape", "r", "s"), node("Gather", "s last", "d"),
    node("Equal", "d one", "c"),
]  # fmt: skip
NUMBERS: dict[str, Any] = {"last": np.array(3), "one": np.array(1), "axis": i64(3)}


@pytest.mark.parametrize("width", [1, 2])
def test_a_squeeze_of_a_size_that_is_known(width: int) -> None:
    """The PyTorch export of ``x.squeeze(3)``."""
    both = choice(
        "c",
        branch(node("Squeeze", "r axis", "t"), out="t"),
        branch(node("Identity", "r", "e"), out="e"),
        "q",
    )
    nodes = [*SQUEEZE, both, node("Flatten", "q")]
    agrees(model_of(nodes, ["n", 2, 3, width], constants=NUMBERS))


def test_branches_inside_branches_and_their_own_names() -> None:
    """Both branches call their values alike, and one has an If inside."""
    inner = choice(
        "yes",
        branch(node("Mul", "t two", "u"), out="u", two=f32(2)),
        branch(node("Identity", "r", "k"), out="k"),
        "v",
    )
    then = branch(node("Add", "r two", "t"), inner, node("Neg", "v", "w"), out="w", two=f32(5))
    other = branch(node("Add", "r two", "t"), out="t", two=f32(7))
    nodes = [
        *SQUEEZE,
        choice("c", then, other, "a"),
        node("Not", "c", "no"),
        choice("no", then, other, "b"),
        node("Sub", "a b"),
    ]
    constants = NUMBERS | {"yes": np.array(True)}
    agrees(model_of(nodes, ["n", 2, 3, 1], constants=constants))


def test_a_condition_on_the_batch_stays_refused() -> None:
    """``squeeze(0)``: with one sample it is another network."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "d"), node("Equal", "d one", "c"),
        choice("c", branch(node("Neg", "x", "t"), out="t"), branch(node("Relu", "x", "e"), out="e")),
    ]  # fmt: skip
    constants = {"zero": np.array(0), "one": np.array(1)}
    with pytest.raises(UnsupportedError, match="the If y.*chooses between subgraphs"):
        gp.from_proto(model_of(nodes, ["n", 3], constants=constants))
    agrees(model_of(nodes, [1, 3], constants=constants))
    agrees(model_of(nodes, [2, 3], constants=constants))


@pytest.mark.parametrize(
    "condition",
    [
        [node("Equal", "d four", "c")],
        [node("Mod", "d two", "m"), node("Equal", "m one", "c")],
        [node("Unsqueeze", "d at", "u"), node("Slice", "list at u", "p"), node("Size", "p", "n"),
         node("Greater", "n zero", "c")],
    ],
    ids=["equal", "mod", "slice"],
)  # fmt: skip
def test_a_condition_on_some_batch_that_nobody_tried_stays_refused(
    condition: list[onnx.NodeProto],
) -> None:
    """Most sizes of the batch agree, but not all."""
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "d"), *condition,
        choice("c", branch(node("Neg", "x", "t"), out="t"), branch(node("Relu", "x", "e"), out="e")),
    ]  # fmt: skip
    constants = {"zero": np.array(0), "one": np.array(1), "two": np.array(2), "four": np.array(4)}
    constants |= {"list": np.full(2000, 4), "at": i64(0)}
    with pytest.raises(UnsupportedError, match="the If y.*chooses between subgraphs"):
        gp.from_proto(model_of(nodes, ["n", 3], constants=constants))


@pytest.mark.parametrize("rank", [2, 3])
def test_a_condition_on_the_rank_is_none_on_the_batch(rank: int) -> None:
    """PyTorch's ``x.dim() == 3``: the size of a shape, one of whose sides is the batch."""
    nodes = [
        node("Shape", "x", "s"), node("Size", "s", "d"), node("Equal", "d three", "c"),
        choice("c", branch(node("Neg", "x", "t"), out="t"),
               branch(node("Relu", "x", "e"), out="e"), "z"),
        node("Flatten", "z"),
    ]  # fmt: skip
    network = agrees(model_of(nodes, ["n", 3, 2][:rank], constants={"three": np.array(3)}))
    assert bool(network.activations) == (rank == 2)


def test_a_computed_condition_is_refused() -> None:
    nodes = [
        node("ReduceMax", "x", "m", keepdims=0), node("Greater", "m zero", "c"),
        choice("c", branch(node("Neg", "x", "t"), out="t"), branch(node("Identity", "x", "e"), out="e")),
    ]  # fmt: skip
    with pytest.raises(UnsupportedError, match="the If y.*chooses between subgraphs"):
        gp.from_proto(model_of(nodes, [1, 3], constants={"zero": f32(0)[0]}))


def test_the_head_below_a_branch_is_cut() -> None:
    """A softmax inside the branch that is taken."""
    nodes = [
        node("Relu", "x", "r"),
        choice(
            "yes",
            branch(node("Softmax", "r", "t"), out="t"),
            branch(node("Identity", "r", "k"), out="k"),
        ),
    ]
    network = gp.from_proto(model_of(nodes, ["n", 3], constants={"yes": np.array(True)}))
    assert network.source.softmax == "Softmax"
