"""Operators that became several are written as they were, unless a rewrite touched one of them."""

from typing import Any

import numpy as np
import pytest

import graphprune as gp
from graphprune.ir.network import activation_of, size
from graphprune.runtime.session import Executable
from graphprune.transforms.replace import Replacement, apply
from tests.canonical.models import close, model_of, node

RNG = np.random.default_rng(0)
SLOPES = RNG.random((3, 1, 1)).astype(np.float32)
CASES = [
    node("MaxPool", "r", "p", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1]),
    node("MaxPool", "r", "p", kernel_shape=[2, 2], auto_pad="SAME_UPPER", dilations=[1, 1]),
    node("GlobalMaxPool", "r", "p"),
    node("LeakyRelu", "r", "p", alpha=0.3), node("PRelu", "r slopes", "p"),
    node("Max", "r s", "p"), node("Max", "r s r", "p"),
    node("Abs", "r", "p"),
    node("ReduceMax", "r", "p", axes=[3], keepdims=0),
    node("Clip", "r _ high", "p"),
]  # fmt: skip


def network_of(case: Any) -> gp.Network:
    weight = RNG.normal(size=(3, 2, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", "x w", "c"), node("Relu", "c", "a"), node("Conv", "a v", "r"),
        node("Conv", "a u", "s"), case, node("Flatten", "p", "y"),
    ]  # fmt: skip
    constants = {
        "w": weight, "slopes": SLOPES, "v": RNG.normal(size=(3, 3, 2, 2)).astype(np.float32),
        "u": RNG.normal(size=(3, 3, 2, 2)).astype(np.float32),
        "high": np.array(0.4, np.float32),
    }  # fmt: skip
    return gp.from_proto(model_of(nodes, ["n", 2, 7, 6], constants=constants))


def lines(network: gp.Network, index: int) -> gp.Network:
    """The network with half of a layer's neurons as lines."""
    count = size(network.activations[index].outputs[0])
    where = np.arange(count) % 2 == 0
    new = Replacement.nothing(count).with_lines(where, np.full(count, 0.5), np.ones(count))
    return apply(network, {index: new})


def kinds(network: gp.Network, *, lowered: bool = False) -> list[str]:
    return [one.op_type for one in gp.to_proto(network, lowered=lowered).graph.node]


@pytest.mark.parametrize("case", CASES, ids=lambda item: item.op_type)
def test_what_no_rewrite_touched_is_written_as_in_the_file(case: Any) -> None:
    network = network_of(case)
    x = RNG.normal(size=(20, 2, 7, 6)).astype(np.float32)
    for touched in (network, lines(network, 0)):
        assert case.op_type in kinds(touched)
        restored, plain = (
            Executable(gp.to_proto(touched, lowered=lowered))({"x": x})[0]
            for lowered in (False, True)
        )
        assert close(restored, plain, 1e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda item: item.op_type)
def test_a_touched_operator_is_written_as_it_has_become(case: Any) -> None:
    network = network_of(case)
    x = RNG.normal(size=(20, 2, 7, 6)).astype(np.float32)
    for index in range(1, len(network.activations)):
        touched = lines(network, index)
        assert case.op_type not in kinds(touched) or case.op_type == "Clip"
        assert activation_of(network.activations[index]).piecewise_linear
        restored, plain = (
            Executable(gp.to_proto(touched, lowered=lowered))({"x": x})[0]
            for lowered in (False, True)
        )
        assert close(restored, plain, 1e-5)


def test_names_survive_rebuilding() -> None:
    """A rewrite that copies every node leaves all names: they say what is still the file's."""
    network = network_of(CASES[0])
    again = apply(network, {})
    assert [n.name for n in again.nodes] == [n.name for n in network.nodes]


def test_a_pool_that_runtimes_and_inference_see_differently_stays_a_tree() -> None:
    pool = node("MaxPool", "r", "p", kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 0, 1],
                ceil_mode=1)  # fmt: skip
    network = network_of(pool)
    assert "MaxPool" not in kinds(network)
    assert gp.from_proto(gp.to_proto(network)).classes == network.classes


def test_an_operator_whose_own_value_is_gone_is_written_below_another() -> None:
    """The matrix comes before the factor of a normalisation: no value is the normalised one."""
    nodes = [
        node("LayerNormalization", "x g", "n", epsilon=0.1), node("MatMul", "n w", "h"),
        node("Add", "h b", "a"), node("Relu", "a", "r"), node("Flatten", "r", "y"),
    ]  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {"g": (4,), "w": (4, 3), "b": (3,)}
    constants = {name: RNG.normal(size=n).astype(np.float32) for name, n in shapes.items()}
    network = gp.from_proto(model_of(nodes, ["n", 2, 4], constants=constants))
    assert {"LayerNormalization", "MatMul"} <= set(kinds(network))
    assert "LayerNormalization" not in kinds(network, lowered=True)
    x = RNG.normal(size=(20, 2, 4)).astype(np.float32)
    restored, plain = (
        Executable(gp.to_proto(network, lowered=lowered))({"x": x})[0] for lowered in (False, True)
    )
    assert close(restored, plain, 1e-5)
