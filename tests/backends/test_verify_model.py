"""The outputs of a file that a property is about."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from graphprune.backends.verify import network_for, verify
from graphprune.errors import GraphpruneError
from graphprune.vnnlib import parse_property

BOX = "(assert (>= X_0 -1)) (assert (<= X_0 1)) (assert (>= X_1 -1)) (assert (<= X_1 1))\n"


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """policy = (h, -h) and value = h0 + h1 + 3, of h = relu(x); an integer output beside them."""
    weights = {
        "first": np.eye(2), "policy_w": np.array([[1.0, 0, -1, 0], [0, 1, 0, -1]]),
        "value_w": np.ones((2, 1)), "three": np.array([3.0]),
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["z"]),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("MatMul", ["h", "policy_w"], ["policy"]),
        helper.make_node("MatMul", ["h", "value_w"], ["sum"]),
        helper.make_node("Add", ["sum", "three"], ["value"]),
        helper.make_node("ArgMax", ["policy"], ["label"], axis=1, keepdims=0),
    ]
    floats = onnx.TensorProto.FLOAT
    outputs = [
        helper.make_tensor_value_info("policy", floats, ["N", 4]),
        helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("value", floats, ["N", 1]),
    ]
    graph = helper.make_graph(
        nodes, "heads", [helper.make_tensor_value_info("x", floats, ["N", 2])], outputs,
        [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "heads.onnx")
    return tmp_path / "heads.onnx"


def text(outputs: int, rest: str) -> str:
    names = ["X_0", "X_1", *(f"Y_{j}" for j in range(outputs))]
    return "".join(f"(declare-const {name} Real)\n" for name in names) + BOX + rest


def answer(path: Path, said: str, output: str | None = None) -> str:
    prop = parse_property(said)
    return verify(network_for(path, prop, output), prop, time_limit=60.0).answer


def test_an_output_is_named(heads: Path) -> None:
    assert answer(heads, text(1, "(assert (<= Y_0 2.9))"), "value") == "unsat"
    assert answer(heads, text(1, "(assert (<= Y_0 3.1))"), "value") == "sat"
    assert answer(heads, text(4, "(assert (>= Y_3 0.1))"), "policy") == "unsat"
    with pytest.raises(GraphpruneError, match=r"several outputs .* name one with"):
        answer(heads, text(1, "(assert (<= Y_0 2.9))"))
    with pytest.raises(GraphpruneError, match="no output 'valu'; did you mean 'value'"):
        answer(heads, text(1, "(assert (<= Y_0 2.9))"), "valu")
    with pytest.raises(
        GraphpruneError, match=r"1 outputs, the network 2 and 4 \(output 'policy'\)"
    ):
        answer(heads, text(1, "(assert (<= Y_0 2.9))"), "policy")


def test_all_outputs_follow_one_another(heads: Path) -> None:
    """Y_4 is the value, Y_0 to Y_3 are the policy."""
    assert answer(heads, text(5, "(assert (<= Y_4 (+ Y_0 2.9)))")) == "unsat"
    prop = parse_property(text(5, "(assert (<= Y_4 3.5)) (assert (>= Y_0 0.25))"))
    verdict = verify(network_for(heads, prop), prop, time_limit=60.0)
    assert verdict.point is not None
    session = onnxruntime.InferenceSession(heads, providers=["CPUExecutionProvider"])
    policy, value = session.run(
        ["policy", "value"], {"x": verdict.point.x.astype(np.float32).reshape(1, 2)}
    )
    np.testing.assert_array_equal(verdict.point.y, [*policy[0], *value[0]])


def version_2(outputs: str, rest: str, inputs: str = "(declare-input X Real [1,2])") -> str:
    bounds = "".join(f"(assert (>= X[0,{i}] -1)) (assert (<= X[0,{i}] 1))\n" for i in (0, 1))
    return f"(vnnlib-version <2.0>) (declare-network N {inputs} {outputs})\n{bounds}{rest}"


def test_version_2_names_its_tensors(heads: Path) -> None:
    value = '(declare-output V Real [1,1] "value")'
    policy = '(declare-output P Real [1,4] "policy")'
    assert answer(heads, version_2(value, "(assert (<= V[0,0] 2.9))")) == "unsat"
    assert answer(heads, version_2(value, "(assert (<= V[0,0] 3.1))"), "value") == "sat"
    # In the property's own order.
    both = version_2(value + policy, "(assert (<= V[0,0] (+ P[0,0] 2.9)))")
    assert answer(heads, both) == "unsat"
    with pytest.raises(GraphpruneError, match="about the output 'value', not about 'policy'"):
        answer(heads, version_2(value, "(assert (<= V[0,0] 2.9))"), "policy")
    with pytest.raises(GraphpruneError, match="no output 'values'"):
        answer(heads, version_2(value.replace("value", "values"), "(assert (<= V[0,0] 2.9))"))
    other = version_2(value, "(assert (<= V[0,0] 2.9))", '(declare-input X Real [1,2] "z")')
    with pytest.raises(GraphpruneError, match=r"about the input 'z'; .*heads.onnx has 'x'"):
        answer(heads, other)


def test_version_2_names_several_inputs_in_the_order_of_the_file(tmp_path: Path) -> None:
    """y = relu(a) - 2 relu(b), of a and b in [0, 1]."""
    floats = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Relu", ["a"], ["p"]), helper.make_node("Relu", ["b"], ["q"]),
        helper.make_node("Add", ["q", "q"], ["twice"]), helper.make_node("Sub", ["p", "twice"], ["y"]),
    ]  # fmt: skip
    shaped = [helper.make_tensor_value_info(name, floats, ["N", 1]) for name in "aby"]
    graph = helper.make_graph(nodes, "two", shaped[:2], shaped[2:])
    path = tmp_path / "two.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)

    def said(first: str, second: str, limit: float) -> str:
        inputs = "".join(
            f'(declare-input {name.upper()} Real [1,1] "{name}")' for name in (first, second)
        )
        bounds = "".join(f"(assert (>= {n}[0,0] 0)) (assert (<= {n}[0,0] 1))" for n in "AB")
        return (
            f"(vnnlib-version <2.0>) (declare-network N {inputs} (declare-output Y Real [1,1]))"
            f"{bounds} (assert (<= B[0,0] 0.25)) (assert (<= Y[0,0] {limit}))"
        )

    assert answer(path, said("a", "b", -0.55)) == "unsat"
    assert answer(path, said("a", "b", -0.45)) == "sat"
    with pytest.raises(GraphpruneError, match="input 'b', 'a'; .* has 'a', 'b'"):
        answer(path, said("b", "a", -0.45))
