"""Activations written out in parts: recognised with the file's own constants, or refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import graphprune as gp
from graphprune.canonical.survey import survey
from graphprune.errors import UnsupportedError
from graphprune.functions import (
    Gelu,
    GeluTanh,
    HardSwish,
    Mish,
    ScalarFunction,
    Silu,
    Softplus,
)
from graphprune.ir.load import read_model
from graphprune.ir.network import activation_of
from graphprune.operators import Relu
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import Reference, forward64
from tests.canonical.models import agrees, close, model_of, node

Parts = list[onnx.NodeProto]
FIVE = np.array([-1.5, -0.3, 0.0, 0.4, 2.0], np.float32)
NUMBERS = {
    "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "cube": 0.044715, "root": (2 / np.pi) ** 0.5,
    "sqrt2": 2**0.5, "isqrt2": 0.5**0.5, "odd": 1.3, "twenty": 20.0, "zero": 0.0, "tenth": 0.1,
    "minus": -1.0, "six": 6.0, "cr": 0.044715 * (2 / np.pi) ** 0.5, "far": 1.7,
}  # fmt: skip
ERF: dict[str, Parts] = {
    "pytorch": [node("Div", "x sqrt2", "d"), node("Erf", "d", "e"), node("Add", "e one", "p"),
                node("Mul", "x p", "m"), node("Mul", "m half")],
    "tf2onnx": [node("Mul", "x isqrt2", "d"), node("Erf", "d", "e"), node("Add", "one e", "p"),
                node("Mul", "half p", "q"), node("Mul", "q x")],
    "another width": [node("Mul", "x half", "g"), node("Div", "x odd", "d"), node("Erf", "d", "e"),
                      node("Add", "e one", "p"), node("Mul", "g p")],
}  # fmt: skip
TANH: dict[str, Parts] = {
    "pytorch legacy": [
        node("Mul", "x x", "s"), node("Mul", "x s", "c"), node("Mul", "cube c", "k"),
        node("Add", "x k", "i"), node("Mul", "root i", "u"), node("Tanh", "u", "t"),
        node("Add", "one t", "p"), node("Mul", "x p", "m"), node("Mul", "half m")],
    "pytorch dynamo": [
        node("Pow", "x three", "c"), node("Mul", "c cube", "k"), node("Add", "x k", "i"),
        node("Mul", "i root", "u"), node("Tanh", "u", "t"), node("Add", "t one", "p"),
        node("Mul", "half p", "q"), node("Mul", "x q")],
    "keras": [
        node("Mul", "half x", "g"), node("Pow", "x three", "c"), node("Mul", "cube c", "k"),
        node("Add", "x k", "i"), node("Mul", "root i", "u"), node("Tanh", "u", "t"),
        node("Add", "one t", "p"), node("Mul", "g p")],
    "hugging face": [
        node("Pow", "x two", "s"), node("Mul", "cube s", "k"), node("Add", "k one", "i"),
        node("Mul", "x root", "r"), node("Mul", "r i", "u"), node("Tanh", "u", "t"),
        node("Add", "t one", "p"), node("Mul", "x half", "g"), node("Mul", "p g")],
    "two terms, above a shift": [
        node("Add", "x tenth", "v"), node("Mul", "v v", "s"), node("Mul", "s v", "c"),
        node("Mul", "c cr", "k"), node("Mul", "v root", "i"), node("Add", "i k", "u"),
        node("Tanh", "u", "t"), node("Add", "t one", "p"), node("Mul", "p v", "m"),
        node("Mul", "m half")],
    "mirrored": [
        node("Neg", "x", "v"), node("Pow", "v three", "c"), node("Mul", "c cube", "k"),
        node("Add", "v k", "i"), node("Mul", "i root", "u"), node("Tanh", "u", "t"),
        node("Add", "t one", "p"), node("Mul", "v p")],
}  # fmt: skip
SOFTPLUS: dict[str, Parts] = {
    "log": [node("Exp", "x", "e"), node("Add", "one e", "p"), node("Log", "p")],
    "pytorch dynamo": [node("Softplus", "x", "s"), node("Greater", "x twenty", "c"),
                       node("Where", "c x s")],
    "with beta": [node("Mul", "x two", "b"), node("Softplus", "b", "s"), node("Div", "s two", "d"),
                  node("Greater", "b twenty", "c"), node("Where", "c x d")],
    "log, chosen the other way": [
        node("Exp", "x", "e"), node("Add", "e one", "p"), node("Log", "p", "s"),
        node("LessOrEqual", "x twenty", "c"), node("Where", "c s x")],
}  # fmt: skip
HINGES: dict[str, Parts] = {
    "leaky": [node("Mul", "x tenth", "a"), node("Greater", "x zero", "c"), node("Where", "c x a")],
    "leaky, less": [node("Mul", "x tenth", "a"), node("LessOrEqual", "x zero", "c"),
                    node("Where", "c a x")],
    "leaky, not": [node("Mul", "x tenth", "a"), node("GreaterOrEqual", "x zero", "c"),
                   node("Not", "c", "d"), node("Where", "d a x")],
    "relu by a mask": [node("Greater", "x zero", "c"), node("Cast", "c", "m", to=1),
                       node("Mul", "x m")],
    "capped": [node("Less", "one x", "c"), node("Where", "c one x")],
    "meets elsewhere": [node("Mul", "x two", "a"), node("Sub", "a one", "b"),
                        node("Greater", "a two", "c"), node("Where", "c b x")],
    "of a flipped value": [node("Mul", "x minus", "n"), node("Greater", "n zero", "c"),
                           node("Where", "c n zero")],
}  # fmt: skip


def written(parts: Parts) -> onnx.ModelProto:
    constants = {name: np.array(number, np.float32) for name, number in NUMBERS.items()}
    return model_of(parts, ["n", 5], constants=constants, opset=17)


def recognised(parts: Parts, **options: float) -> tuple[gp.Network, object]:
    """The network, which agrees with ONNX Runtime, and its only activation."""
    network = agrees(written(parts), **options)
    assert (network.neurons, network.auxiliary_neurons) == (5, 0)
    (activation,) = network.activations
    return network, activation_of(activation)


@pytest.mark.parametrize("parts", ERF.values(), ids=ERF)
def test_gelu_by_the_error_function(parts: Parts) -> None:
    assert recognised(parts)[1] == Gelu()


@pytest.mark.parametrize("parts", TANH.values(), ids=TANH)
def test_gelu_by_the_hyperbolic_tangent(parts: Parts) -> None:
    """With the file's constants, which float32 rounds: to the last digits of float64."""
    network, curve = recognised(parts)
    assert isinstance(curve, GeluTanh)
    assert 0 < abs(curve.cube / 0.044715 - 1) < 1e-6
    x = np.random.default_rng(0).uniform(-4, 4, (50, 5))
    expected = Reference(with_float64_constants(written(parts)))({"x": x})[0]
    assert np.max(np.abs(forward64(network, x)[0] - expected)) < 1e-14


def with_float64_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same real function, to be run in float64."""
    for tensor in model.graph.initializer:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return model


@pytest.mark.parametrize("name", SOFTPLUS)
def test_softplus(name: str) -> None:
    network, curve = recognised(SOFTPLUS[name], low=-4, high=12)
    assert curve == Softplus(np.inf if name == "log" else 20.0)
    for side in (0.0, 10.0, 20.0):
        z = np.linspace(side - 0.3, side + 0.3, 61)
        x = np.repeat(z[:, None], 5, axis=1)
        expected = Reference(with_float64_constants(written(SOFTPLUS[name])))({"x": x})[0]
        assert np.max(np.abs(forward64(network, x)[0] - expected)) < 1e-13


GATES: dict[str, tuple[Parts, ScalarFunction]] = {
    "silu": ([node("Sigmoid", "x", "s"), node("Mul", "x s")], Silu()),
    "quick gelu": ([node("Mul", "x far", "a"), node("Sigmoid", "a", "s"), node("Mul", "x s")], Silu()),
    "silu, scaled and mirrored": (
        [node("Neg", "x", "n"), node("Sigmoid", "n", "s"), node("Mul", "x two", "a"),
         node("Div", "s three", "t"), node("Mul", "t a")], Silu()),
    "hard swish": ([node("HardSigmoid", "x", "s", alpha=1 / 6), node("Mul", "s x")], HardSwish()),
    "hard swish of another slope": ([node("HardSigmoid", "x", "s"), node("Mul", "s x")], HardSwish()),
    "by relu6": ([node("Add", "x three", "a"), node("Clip", "a zero six", "c"), node("Mul", "x c", "m"),
                  node("Div", "m six")], HardSwish()),
    "by relu6, divided first": (
        [node("Add", "x three", "a"), node("Clip", "a zero six", "c"), node("Div", "c six", "d"),
         node("Mul", "d x")], HardSwish()),
    "mish": ([node("Softplus", "x", "s"), node("Tanh", "s", "t"), node("Mul", "x t")], Mish()),
    "mish of pytorch dynamo": (
        [*SOFTPLUS["pytorch dynamo"][:-1], node("Where", "c x s", "p"), node("Tanh", "p", "t"),
         node("Mul", "x t")], Mish()),
    "mish by exp and log": ([*SOFTPLUS["log"][:-1], node("Log", "p", "l"), node("Tanh", "l", "t"),
                             node("Mul", "t x")], Mish()),
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
def test_products_with_a_gate_of_the_same_value(name: str) -> None:
    parts, function = GATES[name]
    network, curve = recognised(parts, low=-6, high=6)
    assert curve == function
    x = np.random.default_rng(0).uniform(-6, 6, (50, 5))
    expected = Reference(with_float64_constants(written(parts)))({"x": x})[0]
    assert np.max(np.abs(forward64(network, x)[0] - expected)) < 1e-13


@pytest.mark.parametrize("parts", HINGES.values(), ids=HINGES)
def test_choices_between_lines_that_meet(parts: Parts) -> None:
    assert isinstance(recognised(parts, low=-3, high=5)[1], Relu)


@pytest.mark.parametrize("op", ["Less", "GreaterOrEqual"])
def test_the_larger_of_two_values(op: str) -> None:
    parts = [node("Neg", "x", "a"), node(op, "x a", "c"), node("Where", "c x a")]
    network = agrees(written(parts))
    x = np.array([[-2.0, -1.0, 0.0, 1.0, 2.0]])
    best = np.maximum if op == "GreaterOrEqual" else np.minimum
    assert np.array_equal(forward64(network, x)[0], best(x, -x))


def test_choices_of_constants_are_folded() -> None:
    parts = [node("Greater", "five zero", "c"), node("Mul", "five tenth", "a"),
             node("Where", "c five a", "d"), node("Add", "x d")]  # fmt: skip
    model = written(parts)
    model.graph.initializer.append(numpy_helper.from_array(FIVE, "five"))
    assert agrees(model).neurons == 0


JUMPS: dict[str, Parts] = {
    "thresholded": [
        node("Greater", "x one", "c"), node("Cast", "c", "m", to=1), node("Mul", "x m"),
    ],
    "two lines": [
        node("Mul", "x two", "a"), node("Greater", "x six", "c"), node("Where", "c a x"),
    ],
    "two lines, below": [
        node("Mul", "x two", "a"), node("LessOrEqual", "x one", "c"), node("Where", "c a x"),
    ],
    "two lines of a falling value": [
        node("Mul", "x half", "a"), node("Neg", "x", "b"), node("GreaterOrEqual", "b one", "c"),
        node("Not", "c", "d"), node("Where", "d a x"),
    ],
    "softplus, chosen early": [
        node("Softplus", "x", "s"), node("Greater", "x one", "c"), node("Where", "c x s"),
    ],
    "of another value": [
        node("Abs", "x", "a"), node("Greater", "a one", "c"), node("Where", "c x zero"),
    ],
    "softplus below": [
        node("Softplus", "x", "s"), node("Less", "x one", "c"), node("Where", "c x s"),
    ],
    "of two values": [
        node("Abs", "x", "a"), node("Neg", "a", "b"), node("Greater", "a one", "c"),
        node("Where", "c a b"),
    ],
    "of two constants": [node("Abs", "x", "a"), node("Less", "a one", "c"), node("Where", "c two six")],
    "of a constant and a value": [
        node("Abs", "x", "a"), node("Less", "a one", "c"), node("Where", "c two x"),
    ],
    "and": [
        node("Greater", "x one", "c"), node("Less", "x two", "d"), node("And", "c d", "e"),
        node("Cast", "e", "m", to=1), node("Add", "m x"),
    ],
    "or": [
        node("Less", "x one", "c"), node("Greater", "x two", "d"), node("Or", "c d", "e"),
        node("Cast", "e", "m", to=1), node("Add", "m x"),
    ],
    "xor": [
        node("Greater", "x one", "c"), node("Greater", "x half", "d"), node("Xor", "c d", "e"),
        node("Cast", "e", "m", to=1), node("Add", "m x"),
    ],
    "equal": [
        node("Sign", "x", "a"), node("Equal", "a one", "c"), node("Cast", "c", "m", to=1),
        node("Add", "m x"),
    ],
}  # fmt: skip
# The places where these jump, and numbers on either side of them.
PLACES = np.array([[-2.0, -1.5, -1.0, -0.5, 0.0], [0.5, 0.75, 1.0, 1.5, 2.0], [3, 6, 7, -6, -7.0]])


@pytest.mark.parametrize("name", JUMPS)
def test_choices_that_jump(name: str) -> None:
    """At the places themselves too, where a bound must know on which side they are."""
    network = agrees(written(JUMPS[name]))
    x = PLACES.astype(np.float32)
    assert close(forward64(network, x)[0], run_original(network, x), 1e-6)


def test_a_choice_of_what_is_not_finite_is_refused() -> None:
    parts = [node("Abs", "x", "a"), node("Greater", "a one", "c"), node("Where", "c x lowest")]
    model = written(parts)
    model.graph.initializer.append(numpy_helper.from_array(np.array(-np.inf, np.float32), "lowest"))
    with pytest.raises(UnsupportedError, match="the Where y.*not finite"):
        gp.from_proto(model)


def test_a_survey_knows_the_patterns(tmp_path: Path) -> None:
    """Parts of a Gelu are not listed."""
    onnx.save(written(ERF["pytorch"]), tmp_path / "gelu")
    assert survey(read_model(tmp_path / "gelu")).lines == []


def test_an_output_of_truths_is_refused() -> None:
    model = model_of(
        [node("Greater", "x one")], ["n", 5], kind=1, kinds={"y": onnx.TensorProto.BOOL},
        constants={"one": np.array(1, np.float32)},
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="the output 'y' holds truths"):
        gp.from_proto(model)
