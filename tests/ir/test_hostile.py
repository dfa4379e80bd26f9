"""Files made to hurt: refused in one line, quickly, within memory, or loaded and right."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.testing.mutations import mutate
from graphprune.testing.sandbox import Judgement, Sandbox, deviation, judge
from tests.conftest import MODELS
from tests.oracles import Perceptron

NET = Perceptron.random(np.random.default_rng(0), [3, 4, 2])
HUGE = 1 << 31


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as box:
        yield box


def model_of(
    nodes: list[onnx.NodeProto],
    tensors: list[onnx.TensorProto],
    shape: list[int | str] | None = None,
) -> onnx.ModelProto:
    """x -> nodes -> y."""
    graph = helper.make_graph(
        nodes, "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape or ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], tensors,
    )  # fmt: skip
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def ints(name: str, *numbers: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def claimed(dims: list[int], data: bytes = b"\0" * 4) -> onnx.TensorProto:
    """A tensor that claims a shape and holds a few bytes."""
    return onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=data)


def nested(depth: int) -> onnx.ModelProto:
    """If inside If inside If, each with its branches."""
    inner = node("Relu", "x")
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    for _ in range(depth):
        branch = helper.make_graph([inner], "b", [], out)
        inner = helper.make_node("If", ["c"], ["y"], then_branch=branch)
    return model_of([inner], [helper.make_tensor("c", TensorProto.BOOL, [], [1])])


def recursive() -> onnx.ModelProto:
    """f calls g calls f."""
    model = model_of([helper.make_node("f", ["x"], ["y"], domain="local")], [])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for name, other in (("f", "g"), ("g", "f")):
        call = helper.make_node(other, ["a"], ["b"], domain="local")
        model.functions.append(helper.make_function("local", name, ["a"], ["b"], [call], opsets))
    model.opset_import.append(opsets[1])
    return model


def doubling(depth: int) -> onnx.ModelProto:
    """Functions that call the one below twice: 2^depth nodes when inlined."""
    model = model_of([helper.make_node(f"f{depth}", ["x"], ["y"], domain="local")], [])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    for i in range(depth + 1):
        calls = [helper.make_node(f"f{i - 1}", [a], [b], domain="local") for a, b in ("ab", "bc")]
        body = calls if i else [helper.make_node("Relu", ["a"], ["c"])]
        model.functions.append(helper.make_function("local", f"f{i}", ["a"], ["c"], body, opsets))
    model.opset_import.append(opsets[1])
    return model


def doubling_constants(depth: int) -> onnx.ModelProto:
    """A constant that doubles in size with every node."""
    nodes = [node("Concat", "c0 c0", "c1", axis=0)]
    nodes += [node("Concat", f"c{i} c{i}", f"c{i + 1}", axis=0) for i in range(1, depth)]
    nodes += [node("ReduceSum", f"c{depth}", "s", keepdims=0), node("Add", "x s")]
    return model_of(nodes, [numpy_helper.from_array(np.ones(64, np.float32), "c0")])


CASES: dict[str, onnx.ModelProto] = {
    "initialiser of terabytes": model_of([node("MatMul", "x w")], [claimed([4, 1 << 40])]),
    "dims that overflow": model_of([node("MatMul", "x w")], [claimed([1 << 33, 1 << 33])]),
    "dims that multiply to zero bytes": model_of([node("MatMul", "x w")], [claimed([4, 0], b"")]),
    "negative dims": model_of([node("MatMul", "x w")], [claimed([-4, -1])]),
    "no data": model_of([node("MatMul", "x w")], [claimed([4, 2], b"")]),
    "constant of shape": model_of(
        [node("ConstantOfShape", "s", "w"), node("MatMul", "x w")], [ints("s", 4, HUGE)]
    ),
    "constant of shape below every check": model_of(
        [node("ConstantOfShape", "s", "w"), node("MatMul", "x w")], [ints("s", 4, 1 << 26)]
    ),
    "tile": model_of([node("Tile", "x r")], [ints("r", 1, HUGE)]),
    "tile of a constant": model_of(
        [node("Tile", "w r", "t"), node("MatMul", "x t")],
        [numpy_helper.from_array(np.ones((4, 1), np.float32), "w"), ints("r", 1, 1 << 28)],
    ),
    "expand": model_of([node("Expand", "x s")], [ints("s", HUGE, 1, 4)]),
    "expand to a wide layer": model_of(
        [node("Unsqueeze", "x a", "u"), node("Expand", "u s")], [ints("a", 2), ints("s", 1, 4, 1 << 26)]
    ),
    "resize": model_of(
        [helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="nearest")],
        [ints("s", 1, 1, 1 << 20, 1 << 20)], ["n", 1, 4, 4],
    ),
    "range": model_of(
        [node("Range", "a b c", "w"), node("Add", "x w")],
        [numpy_helper.from_array(np.array(n, np.float32), k) for k, n in (("a", 0), ("b", 1e12), ("c", 1))],
    ),
    "doubling constants": doubling_constants(40),
    "pad": model_of([node("Pad", "x p")], [ints("p", 0, HUGE, 0, HUGE)]),
    "huge input": model_of([node("Relu", "x")], [], ["n", 1 << 40]),
    "wide input": model_of([node("Flatten", "x")], [], ["n", 1 << 20, 1 << 20]),
    "convolution with huge pads": model_of(
        [node("Conv", "x w", pads=[HUGE] * 4)],
        [numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")], ["n", 1, 4, 4],
    ),
    "pool with a huge kernel": model_of(
        [node("AveragePool", "x", kernel_shape=[1 << 20, 1 << 20], pads=[1 << 20] * 4)], [], ["n", 1, 4, 4]
    ),
    "cycle": model_of([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b")], []),
    "self loop": model_of([node("Add", "x y")], []),
    "duplicate names": model_of([node("Relu", "x", "a"), node("Neg", "x", "a"), node("Relu", "a")], []),
    "output shadows the input": model_of([node("Relu", "x", "x"), node("Neg", "x")], []),
    "initialiser named like a node's output": model_of(
        [node("Relu", "x", "w"), node("Add", "x w")], [numpy_helper.from_array(np.ones(4, np.float32), "w")]
    ),
    "recursive functions": recursive(),
    "doubling functions": doubling(40),
    "nested branches": nested(20),
    "undefined value": model_of([node("Add", "x nowhere")], []),
    "no nodes": model_of([], []),
    "infinite loop": model_of(
        [helper.make_node("Loop", ["", "c", "x"], ["y"], body=helper.make_graph(
            [node("Identity", "ci", "co"), node("Relu", "v", "vo")], "body",
            [helper.make_tensor_value_info("i", TensorProto.INT64, []),
             helper.make_tensor_value_info("ci", TensorProto.BOOL, []),
             helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", 4])],
            [helper.make_tensor_value_info("co", TensorProto.BOOL, []),
             helper.make_tensor_value_info("vo", TensorProto.FLOAT, ["n", 4])]))],
        [helper.make_tensor("c", TensorProto.BOOL, [], [1])],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_directed_attacks(name: str, sandbox: Sandbox) -> None:
    outcome = sandbox.judge(CASES[name].SerializeToString())
    assert outcome.good, outcome


@pytest.mark.parametrize("kind", ["data", "graph", "names"])
def test_deep_nesting_of_messages(kind: str, sandbox: Sandbox) -> None:
    """Protocol buffers have a recursion limit of their own; below it ours must hold."""
    data = {
        "data": b"\x3a" * 5000,
        "graph": nested(28).SerializeToString(),
        "names": b"\x0a\xff\xff\x03" * 999,
    }
    outcome = sandbox.judge(data[kind])
    assert outcome.good, outcome


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/hostname", "link.bin", "a\0b", "m.onnx/x", "~"]
)
@pytest.mark.parametrize("offset", ["0", "-1", "99999999999999", "x"])
def test_external_data_never_leaves_the_folder(
    location: str, offset: str, sandbox: Sandbox
) -> None:
    model = NET.model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="offset", value=offset)
    outcome = sandbox.judge(model.SerializeToString())
    assert outcome.verdict == "refused", outcome


def test_names_that_are_not_text(sandbox: Sandbox) -> None:
    """UTF-8 is not checked by every parser; what cannot be written cannot be folded either."""
    model = NET.model()
    constant = helper.make_node("Constant", [], ["c"], "nameless", value=ints("t", 1))
    model.graph.node.insert(0, constant)
    data = model.SerializeToString()
    outcome = sandbox.judge(data.replace(b"nameless", b"|n\xd4|dtan"))
    assert outcome.verdict == "refused", outcome
    assert "not UTF-8" in outcome.detail


def test_mutated_files(sandbox: Sandbox) -> None:
    """A few of the campaign of benchmarks/fuzz.py; every number is another file."""
    pool = [NET.model().SerializeToString()]
    pool += [(MODELS / name).read_bytes() for name in ("toy-2d.onnx", "mnist-tiny.onnx")]
    verdicts = []
    for number in range(300):
        rng = np.random.default_rng([7, number])
        outcome = sandbox.judge(mutate(pool[number % len(pool)], rng, pool))
        assert outcome.good, (number, outcome)
        verdicts.append(outcome.verdict)
    assert verdicts.count("loaded") >= 10
    assert verdicts.count("refused") >= 100


# The sandbox itself: each kind of misbehaviour is noticed, and the next file is judged again.


def _sleep(path: object) -> Judgement:
    import time

    time.sleep(60)
    return Judgement("loaded")


def _die(path: object) -> Judgement:
    import os

    os._exit(11)


def _eat(path: object) -> Judgement:
    memory = np.ones(1 << 26)
    return Judgement("loaded", str(memory.size))


def _read(path: object) -> Judgement:
    with open("/etc/hostname") as file:
        return Judgement("loaded", file.read())


def _raise(path: object) -> Judgement:
    raise RuntimeError("not a message for users")


@pytest.mark.parametrize(
    ("function", "verdict"),
    [(_sleep, "hang"), (_die, "crash"), (_eat, "memory"), (_read, "escape"), (_raise, "exception")],
)
def test_the_sandbox_notices(function: object, verdict: str) -> None:
    from pathlib import Path

    with Sandbox(seconds=3.0 if verdict == "hang" else 30.0, memory=500 << 20) as box:
        assert box.call(function, Path("m")).verdict == verdict  # type: ignore[arg-type]
        box.memory, box.seconds = 8 << 30, 30.0
        assert box.judge(NET.model().SerializeToString()).verdict == "loaded"


def test_a_wrong_number_is_noticed() -> None:
    import graphprune as gp

    right, other = (
        gp.from_proto(NET.model()),
        Perceptron([w * 1.01 for w in NET.weights], NET.biases),
    )
    assert deviation(right) <= 1.0
    assert deviation(gp.Network(right.model, gp.from_proto(other.model()).source)) > 1.0


def test_judging_is_what_users_see(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "m.onnx"
    path.write_bytes(b"no model")
    assert judge(path).verdict == "refused"
