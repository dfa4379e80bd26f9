"""Files that no pass has touched are written as they are, and other outputs are kept."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphprune as gp
from graphprune.cli.app import run
from graphprune.errors import OutputError
from graphprune.ir.export import written
from graphprune.ir.origin import untouched
from graphprune.runtime.session import Executable
from tests.canonical.models import model_of, node

RNG = np.random.default_rng(0)
WEIGHTS: dict[str, Any] = {
    "w": RNG.normal(size=(3, 2, 3, 3)).astype(np.float32),
    "v": RNG.normal(size=(12, 4)).astype(np.float32),
    **{name: (0.5 + RNG.random(3)).astype(np.float32) for name in "sbmn"},
    "unused": np.ones(3, np.float32),
}
LAYERS = [
    node("Conv", "x w", "c"), node("BatchNormalization", "c s b m n", "d"),
    node("Relu", "d", "r"), node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
    node("Cast", "p", "q", to=TensorProto.FLOAT), node("Flatten", "q", "f"),
    node("MatMul", "f v", "y"),
]  # fmt: skip
OTHERS = [
    node("Neg", "r", "dead"), node("ArgMax", "y", "best", axis=1, keepdims=0),
]  # fmt: skip


def file(opset: int = 11, *outputs: str) -> onnx.ModelProto:
    summed = (
        node("ReduceSum", "p", "sum", axes=[2, 3], keepdims=0)
        if opset < 13
        else node("GlobalMaxPool", "p", "sum")
    )
    nodes = [*LAYERS, *OTHERS, summed]
    for number, one in enumerate(nodes):
        one.name = f"the node {number}"
    proto = model_of(nodes, ["batch", 2, 6, 6], outputs=[*outputs, "y"], opset=opset,
                     constants=WEIGHTS, kinds={"best": TensorProto.INT64})  # fmt: skip
    proto.ir_version, proto.producer_name = 6, "pytorch"
    proto.graph.node[0].doc_string = "the first"
    helper.set_model_props(proto, {"author": "Ada"})
    return onnx.shape_inference.infer_shapes(proto)


def texts(values: Any) -> list[bytes]:
    return [value.SerializeToString() for value in values]


def test_a_file_that_no_pass_touched_stays_as_it_is(tmp_path: Path) -> None:
    proto = file()
    onnx.save(proto, tmp_path / "m.onnx")
    for passes in ([], ["--passes", "dead-code"]):
        out = tmp_path / "o.onnx"
        assert run(["opt", str(tmp_path / "m.onnx"), "-o", str(out), "--quiet", *passes]) == 0
        new = onnx.load(out)
        assert texts(new.graph.node) == texts(proto.graph.node[: len(LAYERS)])
        assert texts(new.graph.input) == texts(proto.graph.input)
        assert {t.name for t in new.graph.initializer} == {*WEIGHTS} - {"unused"}
        assert texts(new.opset_import) == texts(proto.opset_import)
        assert (new.ir_version, new.producer_name) == (6, "pytorch")
        props = {p.key: p.value for p in new.metadata_props}
        assert props["author"] == "Ada"
        assert "graphprune.version" not in props


def test_the_canonical_form_is_for_verifiers(tmp_path: Path) -> None:
    onnx.save(file(), tmp_path / "m.onnx")
    out = tmp_path / "o.onnx"
    common = ["opt", str(tmp_path / "m.onnx"), "-o", str(out), "--quiet"]
    assert run([*common, "--for", "verifier"]) == 0
    kinds = {one.op_type for one in onnx.load(out).graph.node}
    assert not kinds & {"MaxPool", "BatchNormalization", "Cast"}
    assert run([*common, "--for", "runtimes"]) == 2


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("passes", ["", "linearize-secant{only=1}"])
def test_other_outputs_are_kept(opset: int, passes: str) -> None:
    proto = file(opset, "best", "sum")
    network = gp.from_proto(proto, output="y")
    x = RNG.random((5, 2, 6, 6)).astype(np.float32)
    anchor = gp.Anchor(x[0], int(Executable(proto)({"x": x})[0][0]))
    result = gp.Pipeline.parse(passes).run(network, anchor).network
    assert untouched(network)
    assert untouched(result) == (not passes)
    new = written(result, keep_outputs=True)
    onnx.checker.check_model(new, full_check=True)
    assert [v.name for v in new.graph.output] == ["best", "sum", "y"]
    before, after = (Executable(model)({"x": x}) for model in (proto, new))
    assert np.array_equal(before[0], after[0])
    assert np.allclose(before[1], after[1], atol=1e-5)
    assert np.allclose(before[2], after[2], atol=1e-5) == (not passes)
    alone = written(result)
    assert [v.name for v in alone.graph.output] == ["y"]
    assert np.array_equal(Executable(alone)({"x": x})[0], after[2])


def test_fixed_shapes_are_written() -> None:
    network = gp.load(file(), fix_shape={"x": (3, 2, 6, 6)})
    (given,) = written(network).graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [3, 2, 6, 6]


@pytest.mark.parametrize("gone", [True, False])
def test_a_file_that_is_gone_or_changed_is_written_in_canonical_form(
    gone: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(file(11, "best"), path)
    network = gp.load(path, output="y")
    path.unlink()
    if not gone:
        onnx.save(file(13), path)
    gp.save(network, tmp_path / "o.onnx")
    assert gp.load(tmp_path / "o.onnx").neurons == network.neurons
    said = "no such file any more" if gone else "has changed since it was loaded"
    assert said in caplog.text
    with pytest.raises(OutputError, match=said):
        written(network, keep_outputs=True)
