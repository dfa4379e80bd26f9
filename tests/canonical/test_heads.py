"""Outputs, heads, local functions and number types of real exports."""

import logging

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.errors import UnsupportedError
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import Executable
from tests.canonical.models import agrees, close, model_of, node
from tests.conftest import random_points

W = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
DENSE = [node("MatMul", "x w", "a"), node("Relu", "a", "h"), node("MatMul", "h v", "z")]
WEIGHTS = {"w": W, "v": np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)}


def dense(*more: onnx.NodeProto, **options: object) -> onnx.ModelProto:
    return model_of([*DENSE, *more], ["n", 4], constants=WEIGHTS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_a_softmax_is_cut_and_kept_in_the_written_file(op: str, opset: int) -> None:
    model = dense(node(op, "z", "y", axis=1), opset=opset)
    network = agrees(model)
    assert network.source.output_name == "z"
    x = random_points(network)
    written = gp.to_proto(network)
    assert [o.name for o in written.graph.output] == ["y"]
    for proto in (model, written):
        assert close(Executable(proto)({"x": x})[0], Executable(model)({"x": x})[0], 1e-6)
    # A softmax of logits far apart is 0 or 1; the margin of the logits is not.
    far = forward64(network, 1000 * x)[0]
    assert close(run_original(network, 1000 * x), far, 1e-5)


@pytest.mark.parametrize("opset", [11, 17])
def test_a_softmax_over_a_part_of_the_scores_is_a_layer(opset: int) -> None:
    axis = 2 if opset > 12 else -1
    nodes = [node("Relu", "x", "z"), node("Softmax", "z", "y", axis=axis)]
    network = agrees(model_of(nodes, ["n", 3, 4], opset=opset))
    assert network.source.softmax is None
    assert network.source.output_name == "y"
    x = random_points(network)
    scores = Executable(gp.to_proto(network))({"x": x})[0]
    assert np.allclose(scores.sum(axis=2), 1.0, atol=1e-6)


def test_a_label_of_every_position_is_refused() -> None:
    nodes = [
        node("Softmax", "x", "p", axis=2),
        node("ArgMax", "p", "label", axis=2, keepdims=0),
    ]
    model = model_of(nodes, ["n", 3, 4], kinds={"label": 7}, outputs=["label"])
    with pytest.raises(UnsupportedError, match="not over all classes: end the model below it"):
        gp.from_proto(model)


def test_a_softmax_inside_is_a_layer() -> None:
    network = agrees(dense(node("Softmax", "z", "s"), node("Relu", "s", "y")))
    assert network.source.softmax is None


def test_a_trailing_identity_keeps_the_output() -> None:
    network = agrees(dense(node("Identity", "z", "y")))
    assert network.source.output_name == "y"


CLASSES = {"labels": np.array([5, 6, 7])}


def classifier(*more: onnx.NodeProto, outputs: list[str], kinds: dict[str, int]) -> onnx.ModelProto:
    """What skl2onnx writes for a scaled MLPClassifier."""
    nodes = [
        node("Scaler", "x", "c", domain="ai.onnx.ml", offset=[0.1, 0.2, 0.3, 0.4],
             scale=[2.0, 1.0, 0.5, 3.0]),
        node("MatMul", "c w", "a"), node("Relu", "a", "h"), node("MatMul", "h v", "z"),
        node("Softmax", "z", "p", axis=1),
        node("ArgMax", "p", "best", axis=1),
        node("ArrayFeatureExtractor", "labels best", "picked", domain="ai.onnx.ml"),
        node("Cast", "picked", "label", to=7),
        *more,
    ]  # fmt: skip
    return model_of(
        nodes, ["n", 4], outputs, constants=WEIGHTS | CLASSES, kinds=kinds, ml=True
    )  # fmt: skip


def test_scikit_learn_classifiers_give_their_scores() -> None:
    model = classifier(outputs=["label", "p"], kinds={"label": TensorProto.INT64})
    network = gp.from_proto(model)
    assert network.source.output_name == "z"
    assert network.source.softmax == "Softmax"
    x = random_points(network)
    assert close(forward64(network, x)[0], run_original(network, x), 1e-5)
    label = Executable(model)({"x": x})[0].reshape(-1)
    assert np.array_equal(label, 5 + run_original(network, x).argmax(axis=1))


def test_a_label_alone_and_a_map_of_scores_give_the_logits() -> None:
    label = classifier(outputs=["label"], kinds={"label": TensorProto.INT64})
    assert gp.from_proto(label).source.output_name == "z"
    normal = node("Normalizer", "p", "q", domain="ai.onnx.ml", norm="L1")
    zipped = node("ZipMap", "q", "m", domain="ai.onnx.ml", classlabels_int64s=[5, 6, 7])
    model = classifier(normal, zipped, outputs=["label", "m"], kinds={"label": TensorProto.INT64})
    element = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, element))
    model.graph.output[1].CopyFrom(helper.make_value_info("m", kind))
    assert gp.from_proto(model).source.output_name == "z"


def binary(*parts: str, kinds: dict[str, int] | None = None) -> onnx.ModelProto:
    """What skl2onnx writes for a binary MLPClassifier."""
    one = {"unity": np.ones((), np.float32), "u": np.array([[1], [-1.5], [0.7]], np.float32)}
    nodes = [
        node("Scaler", "x", "c", domain="ai.onnx.ml", offset=[0.1, 0.2, 0.3, 0.4], scale=[2.0] * 4),
        node("MatMul", "c w", "a"), DENSE[1], node("MatMul", "h u", "z"), node("Sigmoid", "z", "s"),
        node("Sub", "unity s", "r"), node("Concat", " ".join(parts), "p", axis=1),
        node("ArgMax", "p", "best", axis=1),
        node("ArrayFeatureExtractor", "labels best", "picked", domain="ai.onnx.ml"),
        node("Cast", "picked", "label", to=7),
    ]  # fmt: skip
    return model_of(
        nodes, ["n", 4], ["label", "p"], constants=WEIGHTS | one | {"labels": np.array([0, 1])},
        kinds=kinds or {"label": TensorProto.INT64}, ml=True,
    )  # fmt: skip


@pytest.mark.parametrize("parts", ["rs", "sr"])
def test_two_classes_by_a_sigmoid_are_the_softmax_of_zero_and_the_logit(parts: str) -> None:
    model = binary(*parts)
    network = gp.from_proto(model)
    assert network.piecewise_linear
    assert (network.classes, network.neurons, network.source.softmax) == (2, 3, "Softmax")
    x = random_points(network, 40, low=-2, high=2)
    scores = run_original(network, x)
    assert close(forward64(network, x)[0], scores, 1e-5)
    label, chances = Executable(model)({"x": x})
    clear = np.abs(chances[:, 1] - 0.5) > 1e-5  # dead ReLUs give ties
    labels = label.reshape(-1)[clear]
    assert set(labels) == {0, 1}
    # Class 0 is the first column, whichever of the two parts it is.
    assert np.array_equal(labels, scores[clear].argmax(axis=1))
    # The written file gives the file's own outputs: the softmax of (0, z) is (1 - s, s).
    written = gp.to_proto(network)
    assert [o.name for o in written.graph.output] == ["p"]
    assert close(Executable(written)({"x": x})[0], chances, 1e-6)
    anchor = gp.Anchor(x[0], int(scores[0].argmax()))
    assert gp.distance(network, anchor, domain=gp.Domain(-9, 9)).status == "exact"


def test_pairs_that_are_no_two_classes_stay() -> None:
    """Two columns each, another number than 1, or the same sigmoid twice."""
    wide, other, twice = binary("r", "s"), binary("r", "s"), binary("s", "s")
    names = [t.name for t in wide.graph.initializer]
    wide.graph.initializer[names.index("u")].CopyFrom(numpy_helper.from_array(W[:3, :2], "u"))
    half = numpy_helper.from_array(np.array(0.5, np.float32), "unity")
    other.graph.initializer[names.index("unity")].CopyFrom(half)
    for model in (wide, other, twice):
        network = gp.from_proto(model, output="p")
        assert (network.source.output_name, network.source.softmax) == ("p", None)


def test_several_float_outputs_need_a_name() -> None:
    model = dense(node("Neg", "z", "y"), outputs=["h", "y"])
    with pytest.raises(UnsupportedError, match="'h', 'y'.*`output=NAME`"):
        gp.from_proto(model)
    assert gp.from_proto(model, output="h").source.output_name == "h"
    network = gp.from_proto(model, output="y")
    x = random_points(network)
    assert close(forward64(network, x)[0], run_original(network, x), 1e-5)
    with pytest.raises(gp.GraphpruneError, match="no output 'z'"):
        gp.from_proto(model, output="z")


def test_what_other_outputs_need_is_not_looked_at() -> None:
    kinds = {"r": TensorProto.INT64}
    model = dense(
        node("Bernoulli", "z", "s"), node("Cast", "s", "r", to=7), outputs=["z", "r"], kinds=kinds
    )
    assert gp.from_proto(model).source.output_name == "z"


def function(name: str, body: list[onnx.NodeProto]) -> onnx.FunctionProto:
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["a"], ["b"], body, opset)


def test_local_functions_are_inlined() -> None:
    inner = function("Inner", [node("Neg", "a", "n"), node("Relu", "n", "b")])
    outer = function("Outer", [node("Inner", "a", "m", domain="local"), node("Abs", "m", "b")])
    model = model_of([node("Outer", domain="local")], ["n", 4])
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.extend([outer, inner])
    assert agrees(model).neurons == 8


def test_recursive_functions_are_refused() -> None:
    ping = function("Ping", [node("Pong", "a", "b", domain="local")])
    pong = function("Pong", [node("Ping", "a", "b", domain="local")])
    model = model_of([node("Ping", domain="local")], ["n", 4])
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.functions.extend([ping, pong])
    with pytest.raises(gp.GraphpruneError, match="functions call each other"):
        gp.from_proto(model)


def test_half_precision_is_widened_and_said(caplog: pytest.LogCaptureFixture) -> None:
    half = {name: array.astype(np.float16) for name, array in WEIGHTS.items()}
    model = model_of(DENSE, ["n", 4], "z", constants=half, kind=TensorProto.FLOAT16)
    with caplog.at_level(logging.INFO, logger="graphprune"):
        network = agrees(model)
    assert "3 FLOAT16 tensors; computed in wider types" in caplog.text
    assert network.source.dtype == np.float16
    exact = half["w"].astype(np.float64), half["v"].astype(np.float64)
    x = random_points(network)
    expected = np.maximum(x.astype(np.float64) @ exact[0], 0) @ exact[1]
    assert close(forward64(network, x)[0], expected, 1e-12)
    written = gp.to_proto(network).graph
    assert written.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    assert written.output[0].type.tensor_type.elem_type == TensorProto.FLOAT16


def test_bfloat16_weights_behind_a_cast() -> None:
    wide = WEIGHTS["w"].astype(np.float64)
    nodes = [node("Cast", "k", "w", to=1), *DENSE]
    model = model_of(nodes, ["n", 4], "z", constants={"v": WEIGHTS["v"]})
    raw = helper.make_tensor("k", TensorProto.BFLOAT16, (4, 3), wide.reshape(-1))
    model.graph.initializer.append(raw)
    agrees(model)


def test_double_models_stay_double() -> None:
    double = {name: array.astype(np.float64) for name, array in WEIGHTS.items()}
    network = agrees(model_of(DENSE, ["n", 4], "z", constants=double, kind=TensorProto.DOUBLE))
    assert network.source.dtype == np.float64


@pytest.mark.parametrize(
    ("op", "said"),
    [("RandomNormalLike", "random numbers"), ("Bernoulli", "random numbers")],
)  # fmt: skip
def test_unsupported_operators_say_why(op: str, said: str) -> None:
    with pytest.raises(UnsupportedError, match=f"the {op}.*{said}"):
        gp.from_proto(model_of([node(op)], ["n", 4]))


def test_control_flow_and_quantisation_say_why() -> None:
    quantize = node("QuantizeLinear", "x s p", "q")
    back = node("DequantizeLinear", "q s p")
    constants: dict[str, np.ndarray] = {
        "s": np.array(0.1, np.float32),
        "p": np.array(0, np.uint8),
    }
    with pytest.raises(UnsupportedError, match="QuantizeLinear.*float model it was quantised"):
        gp.from_proto(model_of([quantize, back], ["n", 4], constants=constants))
    value = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    branch = helper.make_graph([node("Relu", "x", "b")], "branch", [], [value])
    choice = node("If", "c", then_branch=branch, else_branch=branch)
    read = [node("ReduceSum", "x", "r", keepdims=0), node("Greater", "r t", "c")]
    with pytest.raises(UnsupportedError, match="operator is not|the If.*control flow|Greater"):
        gp.from_proto(
            model_of([*read, choice], [4], constants={"t": np.array(0, np.float32)})
        )  # fmt: skip


def test_double_convolutions_run_in_the_reference() -> None:
    """ONNX Runtime has no double Conv; the file's word is then ONNX's own implementation."""
    weight = np.random.default_rng(2).normal(size=(3, 2, 2, 2))
    conv = model_of([node("Conv", "x w")], [1, 2, 4, 4], constants={"w": weight}, kind=11)
    network = gp.from_proto(conv)
    x = random_points(network, 1).astype(np.float64)
    assert close(run_original(network, x), forward64(network, x)[0], 1e-14)


INT: dict[str, int] = {"label": TensorProto.INT64}


def test_an_argmax_over_other_axes_is_refused() -> None:
    """Over the batch (ONNX's default axis), and over the classes of every pixel."""
    with pytest.raises(UnsupportedError, match="ArgMax.*over axis 0 of"):
        gp.from_proto(dense(node("ArgMax", "z", "label"), outputs=["label"], kinds=INT))
    pixels = node("ArgMax", "x", "label", axis=1)
    with pytest.raises(UnsupportedError, match="ArgMax.*over axis 1 of"):
        gp.from_proto(model_of([pixels], ["n", 3, 4, 4], ["label"], kinds=INT))


def test_labels_of_a_fixed_batch_are_those_of_samples() -> None:
    model = model_of(
        [*DENSE, node("ArgMax", "z", "label", axis=1, keepdims=0)], [3, 4], ["label"],
        constants=WEIGHTS, kinds=INT,
    )  # fmt: skip
    network = gp.from_proto(model)
    assert network.input_shape == (4,)
    assert network.classes == 3
    assert network.source.batch_size == 3


@pytest.mark.parametrize(
    "parts",
    [
        [node("Cast", "z", "label", to=TensorProto.INT64)],
        [node("Gather", "z order", "g", axis=1), node("Cast", "g", "label", to=TensorProto.INT64)],
    ],
)
def test_whole_numbers_without_an_argmax_are_rounded_scores(parts: list[onnx.NodeProto]) -> None:
    model = model_of(
        [*DENSE, *parts], ["n", 4], ["label"], kinds=INT,
        constants=WEIGHTS | {"order": np.array([1, 0])},
    )  # fmt: skip
    network = gp.from_proto(model)
    x = 9.0 * random_points(network)
    scores = run_original(network, x)
    assert len(np.unique(scores)) > 4
    assert np.array_equal(forward64(network, x)[0], scores)


@pytest.mark.parametrize("norm", ["MAX", None])
def test_scores_divided_by_their_maximum_may_change_their_order(norm: str | None) -> None:
    options = {} if norm is None else {"norm": norm}
    normal = node("Normalizer", "z", "y", domain="ai.onnx.ml", **options)
    with pytest.raises(UnsupportedError, match="the Normalizer y"):
        gp.from_proto(model_of([*DENSE, normal], ["n", 4], constants=WEIGHTS, ml=True))


def test_the_log_of_a_softmax_is_cut_too() -> None:
    network = gp.from_proto(dense(node("Softmax", "z", "p", axis=1), node("Log", "p", "y")))
    assert network.source.output_name == "z"
    x = random_points(network)
    assert close(forward64(network, x)[0], run_original(network, x), 1e-5)


def test_constant_and_integer_outputs_are_no_scores() -> None:
    """An export that hands on its anchors, sizes and labels beside the scores."""
    nodes = [
        node("MatMul", "x w", "scores"), node("Identity", "grid", "anchors"),
        node("Shape", "x", "s"), node("Cast", "s", "sizes", to=TensorProto.FLOAT),
        node("ArgMax", "scores", "label", axis=1, keepdims=0),
    ]  # fmt: skip
    constants = {
        "w": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32),
        "grid": np.ones(5, np.float32),
    }
    kinds: dict[str, int] = {"label": TensorProto.INT64}
    model = model_of(
        nodes, ["n", 4], ["anchors", "sizes", "label", "scores"], constants=constants, kinds=kinds
    )
    network = gp.from_proto(model)
    assert network.source.file_output == "scores"
    assert network.classes == 3
