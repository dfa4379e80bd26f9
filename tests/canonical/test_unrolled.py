"""Recurrent layers and loops, written out step by step: what ONNX Runtime makes of the file."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphprune as gp
from graphprune.canonical.unrolled import unrolled
from graphprune.errors import UnsupportedError
from graphprune.runtime.session import Executable
from tests.canonical.models import agrees, model_of, node
from tests.canonical.test_fold import f32, i64

STEPS, INPUTS, HIDDEN = 3, 2, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def weights(kind: str, directions: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = GATES[kind] * HIDDEN

    def made(*shape: int) -> np.ndarray:
        return rng.normal(0.0, 0.7, (directions, *shape)).astype(np.float32)

    return {
        "W": made(rows, INPUTS), "R": made(rows, HIDDEN), "B": made(2 * rows),
        "P": made(3 * HIDDEN), "h": made(1, HIDDEN), "c": made(1, HIDDEN),
    }  # fmt: skip


def recurrent(
    kind: str, inputs: str = "t W R B", outputs: str = "Y", **attributes: Any
) -> onnx.ModelProto:
    """A layer behind batch-first sequences, and a dense layer above all of its states."""
    both = 2 if attributes.get("direction") == "bidirectional" else 1
    constants = weights(kind, both)
    wide = both * HIDDEN * (STEPS if outputs == "Y" else 1)
    rng = np.random.default_rng(5)
    # Y is (steps, directions, batch, hidden), Y_h is (directions, batch, hidden).
    perm = [2, 0, 1, 3] if outputs == "Y" else [1, 0, 2]
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node(kind, inputs, outputs, hidden_size=HIDDEN, **attributes),
        node("Transpose", outputs.split()[-1], "s", perm=perm),
        node("Flatten", "s", "f"),
        node("MatMul", "f last", "y"),
    ]
    used = {name for part in nodes for name in part.input}
    held = {name: array for name, array in constants.items() if name in used}
    held["last"] = rng.normal(0, 1, (wide, 2)).astype(np.float32)
    return model_of(nodes, ["n", STEPS, INPUTS], constants=held)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_every_direction(kind: str, direction: str) -> None:
    agrees(recurrent(kind, direction=direction))


@pytest.mark.parametrize("outputs", ["Y", "_ Y_h"])
def test_a_batch_of_one(outputs: str) -> None:
    """New axes of size 1 are not taken for the batch."""
    model = recurrent("GRU", outputs=outputs, direction="bidirectional")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    agrees(model)


def test_a_bias_that_is_put_together() -> None:
    """Both biases in one vector with an axis in front, as PyTorch writes them."""
    model = recurrent("LSTM", direction="forward")
    (bias,) = (t for t in model.graph.initializer if t.name == "B")
    vector = onnx.numpy_helper.to_array(bias)[0]
    model.graph.initializer.remove(bias)
    for name, part in zip(("b1", "b2"), np.split(vector, 2), strict=True):
        model.graph.initializer.append(onnx.numpy_helper.from_array(part, name))
    model.graph.initializer.append(onnx.numpy_helper.from_array(i64(0), "front"))
    made = [node("Concat", "b1 b2", "b", axis=0), node("Unsqueeze", "b front", "B")]
    nodes = [*made, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    agrees(model)


@pytest.mark.parametrize(
    "model",
    [
        recurrent("LSTM", "t W R B _ _ _ P"),
        recurrent("LSTM", input_forget=1),
        recurrent("LSTM", "t W R", outputs="_ Y_h"),
        recurrent("LSTM", outputs="_ _ Y_c"),
        recurrent("LSTM", clip=0.4),
        recurrent("LSTM", activations=["HardSigmoid", "Softsign", "Relu"]),
        recurrent("GRU", linear_before_reset=1),
        recurrent("GRU", "t W R", outputs="_ Y_h"),
        recurrent("GRU", "t W R", linear_before_reset=1),
        recurrent("RNN", activations=["LeakyRelu"], activation_alpha=[0.3]),
        recurrent("RNN", activations=["ThresholdedRelu"], activation_alpha=[0.2]),
        recurrent("RNN", activations=["Affine"], activation_alpha=[0.3], activation_beta=[0.1]),
    ],
    ids=[
        "peepholes", "input_forget", "no bias", "cells", "clip", "LSTM's activations",
        "late reset", "GRU without bias", "late reset without bias", "LeakyRelu", "ThresholdedRelu", "Affine",
    ],
)  # fmt: skip
def test_options(model: onnx.ModelProto) -> None:
    agrees(model)


def of_the_batch(
    kind: str, inputs: str, *made: onnx.NodeProto, **held: np.ndarray
) -> onnx.ModelProto:
    """A layer with an input that nodes make of the batch's size ``n``, and its last state."""
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]), node("Shape", "x", "size"),
        node("Slice", "size zero one", "n"), *made,
        node(kind, inputs, "_ h", hidden_size=HIDDEN),
        node("Squeeze", "h zero", "s"), node("MatMul", "s last", "y"),
    ]  # fmt: skip
    own = {name: array for name, array in weights(kind, 1).items() if name in ("W", "R", "B")}
    held |= {"one": i64(1), "zero": i64(0), "last": np.ones((HIDDEN, 2), np.float32)}
    return model_of(nodes, ["n", STEPS, INPUTS], constants=own | held)


def test_states_of_zeros_for_a_batch_of_any_size() -> None:
    """What PyTorch writes where no first state is given."""
    made = [
        node("Concat", "one n wide", "shape", axis=0), node("ConstantOfShape", "shape", "z"),
    ]  # fmt: skip
    agrees(of_the_batch("LSTM", "t W R B _ z z", *made, wide=i64(HIDDEN)))


def test_a_layer_whose_length_is_computed_from_the_one_below() -> None:
    """What PyTorch's newer exporter writes between layers: a reshape by products of sizes."""
    held = weights("LSTM", 1)
    held = {name: held[name] for name in ("W", "R", "B")}
    held |= {"W2": weights("LSTM", 1, seed=7)["R"], "last": np.ones((HIDDEN, 2), np.float32)}
    held |= {"zero": i64(0), "same": i64(-1)} | {f"i{k}": i64(k) for k in range(5)}
    sizes = [node("Slice", f"size i{k} i{k + 1}", f"d{k}") for k in range(4)]
    nodes = [
        node("Transpose", "x", "t", perm=[1, 0, 2]),
        node("LSTM", "t W R B", "Y", hidden_size=HIDDEN),
        node("Transpose", "Y", "s", perm=[0, 2, 1, 3]), node("Shape", "s", "size"), *sizes,
        node("Mul", "d2 d3", "wide"), node("Reshape", "wide same", "w"),
        node("Concat", "d0 d1 w", "shape", axis=0), node("Reshape", "s shape", "t2"),
        node("LSTM", "t2 W2 R", "_ h", hidden_size=HIDDEN),
        node("Squeeze", "h zero", "q"), node("MatMul", "q last", "y"),
    ]  # fmt: skip
    agrees(model_of(nodes, ["n", STEPS, INPUTS], constants=held))


def test_lengths_that_are_the_whole_sequence() -> None:
    """What tf2onnx writes: the length, repeated for the batch."""

    def of_length(steps: int) -> onnx.ModelProto:
        made = node("Expand", "long n", "lengths")
        return of_the_batch("GRU", "t W R B lengths", made, long=np.array([steps], np.int32))

    agrees(of_length(STEPS))
    with pytest.raises(UnsupportedError, match="the GRU h.*written out"):
        gp.from_proto(of_length(STEPS - 1))


def test_a_sequence_of_unknown_length_is_refused_and_given_one_read() -> None:
    model = recurrent("LSTM", outputs="_ Y_h")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "steps"
    with pytest.raises(UnsupportedError, match="steps"):
        gp.from_proto(model)
    assert gp.from_proto(model, fix_shape={"x": (-1, 5, 2)}).input_shape == (5, 2)


def subgraph(
    inputs: list[str], outputs: list[str], *body: onnx.NodeProto, **tensors: np.ndarray
) -> onnx.GraphProto:
    kinds = dict.fromkeys(("i", "k"), TensorProto.INT64)
    kinds |= dict.fromkeys(("go", "more", "on", "further"), TensorProto.BOOL)

    def value(label: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(label, kinds.get(label, TensorProto.FLOAT), None)

    stored = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    return helper.make_graph(
        list(body), "body", [value(i) for i in inputs], [value(o) for o in outputs], stored
    )


def scan(**attributes: Any) -> onnx.NodeProto:
    """s' = relu(w s + row), which is also put down, from a state of ones."""
    body = subgraph(
        ["s", "row"], ["t", "u"],
        node("Mul", "s w", "v"), node("Add", "v row", "z"), node("Relu", "z", "t"),
        node("Sub", "t row", "u"), w=f32(2),
    )  # fmt: skip
    return node("Scan", "ones x", "last y", body=body, num_scan_inputs=1, **attributes)


@pytest.mark.parametrize(
    "attributes",
    [
        {"scan_input_axes": [1]},
        {"scan_input_axes": [1], "scan_input_directions": [1], "scan_output_axes": [1]},
        {"scan_input_axes": [1], "scan_output_axes": [1], "scan_output_directions": [1]},
    ],
)
def test_scans(attributes: dict[str, Any]) -> None:
    perm = [1, 0, 2] if "scan_output_axes" not in attributes else [0, 1, 2]
    nodes = [scan(**attributes), node("Transpose", "y", "r", perm=perm), node("Flatten", "r", "q")]
    agrees(model_of(nodes, ["n", 3, 2], "q", constants={"ones": np.ones((1, 2), np.float32)}))


def loop(*body: onnx.NodeProto, outputs: tuple[str, ...] = ("more", "t"), out: str = "y") -> Any:
    made = subgraph(["i", "go", "s"], list(outputs), *body)
    return node("Loop", "trips yes x", out, body=made)


STEP = [node("Mul", "s w", "v"), node("Add", "v x", "z"), node("Relu", "z", "t")]
HELD: dict[str, Any] = {"trips": np.array(3), "yes": np.array(True), "w": f32(2)}


@pytest.mark.parametrize(
    "condition",
    [
        node("Identity", "go", "more"),
        helper.make_node(
            "Constant", [], ["more"],
            value=onnx.numpy_helper.from_array(np.array(True)),
        ),
    ],
    ids=["passed on", "constant"],
)  # fmt: skip
def test_loops(condition: onnx.NodeProto) -> None:
    agrees(model_of([loop(condition, *STEP)], ["n", 4], constants=HELD))


def test_a_loop_that_collects_and_counts() -> None:
    """It reads the number of its step, and a loop is inside."""
    inner = node(
        "Loop", "two yes t", "w2",
        body=subgraph(
            ["k", "on", "p"], ["further", "t2"],
            node("Identity", "on", "further"), node("Sub", "p w", "a"), node("LeakyRelu", "a", "t2"),
        ),
    )  # fmt: skip
    body = [
        node("Identity", "go", "more"), node("Cast", "i", "j", to=TensorProto.FLOAT),
        node("Add", "s j", "b"), node("Relu", "b", "t"), inner, node("Identity", "w2", "seen"),
    ]  # fmt: skip
    nodes = [
        loop(*body, outputs=("more", "w2", "seen"), out="last y"),
        node("Transpose", "y", "r", perm=[1, 0, 2]), node("Flatten", "r", "q"),
    ]  # fmt: skip
    agrees(model_of(nodes, ["n", 4], "q", constants=HELD | {"two": np.array(2)}))


def test_trips_of_a_size_that_is_known() -> None:
    nodes = [
        node("Shape", "x", "size"), node("Gather", "size one", "trips"),
        loop(node("Identity", "go", "more"), *STEP),
    ]  # fmt: skip
    held = {"yes": np.array(True), "w": f32(2), "one": np.array(1)}
    agrees(model_of(nodes, ["n", 4], constants=held))
    held["one"] = np.array(0)
    with pytest.raises(UnsupportedError, match="the Loop y.*trip count"):
        gp.from_proto(model_of(nodes, ["n", 4], constants=held))


@pytest.mark.parametrize(
    ("nodes", "held"),
    [
        ([loop(node("Identity", "go", "more"), *STEP)], {"yes": np.array(False)}),
        ([loop(node("Not", "go", "more"), *STEP)], {}),
        ([loop(node("Identity", "go", "more"), *STEP)], {"trips": np.array(0)}),
        ([loop(node("Identity", "go", "more"), *STEP)], {"trips": np.array(1 << 40)}),
    ],
    ids=["never begun", "ended by itself", "no trip", "too long"],
)
def test_loops_that_are_refused(nodes: list[onnx.NodeProto], held: dict[str, Any]) -> None:
    model = model_of(nodes, ["n", 4], constants=HELD | held)
    Executable(model)  # a valid file
    with pytest.raises(UnsupportedError, match="the Loop y.*trip count"):
        gp.from_proto(model)


def test_what_is_no_loop_is_left_alone() -> None:
    model = model_of([node("Relu")], ["n", 4])
    assert unrolled(model) is model


def test_the_distance_of_a_recurrent_network_is_an_interval() -> None:
    network = gp.from_proto(recurrent("LSTM", outputs="_ Y_h"))
    anchor, domain = gp.Anchor(np.full((3, 2), 0.4)), gp.Domain(-9.0, 9.0)
    found = gp.distance(network, anchor, domain=domain, time_limit=3.0)
    assert found.upper is not None
    assert 0.0 < found.lower <= found.upper


@pytest.mark.parametrize(
    ("name", "shape"), [("W", (1, 9, INPUTS)), ("R", (1, 12, 4)), ("B", (1, 9)), ("R", (2, 12, 3))]
)
def test_weights_that_do_not_fit_are_refused(name: str, shape: tuple[int, ...]) -> None:
    model = recurrent("LSTM")
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name))
    with pytest.raises(UnsupportedError, match="the LSTM Y.*weights must fit"):
        gp.from_proto(model)


def test_a_scan_whose_parts_do_not_fit_is_refused() -> None:
    empty = helper.make_graph([], "body", [], [])
    model = model_of([node("Scan", "x", "y", num_scan_inputs=3, body=empty)], ["n", 4])
    with pytest.raises(gp.GraphpruneError, match="Scan"):
        gp.from_proto(model)


def test_a_scan_of_the_batch_is_refused() -> None:
    model = model_of([scan()], ["n", 2], "last", constants={"ones": np.ones(2, np.float32)})
    Executable(model)  # a valid file
    with pytest.raises(UnsupportedError, match="the Scan last.*the same for every batch"):
        gp.from_proto(model)
