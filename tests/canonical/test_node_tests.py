"""The judge of ONNX's node tests: right, refused and wrong answers are told apart."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.node_tests import judged, reason


def _write(folder: Path, op: str, recorded: np.ndarray) -> Path:
    """A node test as ONNX ships them: a model and protocol buffers of inputs and outputs."""
    x = np.array([[-1.0, 2.0], [0.5, -3.0]], dtype=np.float32)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in (("x", x), ("y", recorded))
    ]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "m", values[:1], values[1:])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    for name, array in (("input_0", x), ("output_0", recorded)):
        tensor = numpy_helper.from_array(array)
        (data / f"{name}.pb").write_bytes(tensor.SerializeToString())
    return folder


RELU = np.array([[0.0, 2.0], [0.5, 0.0]], dtype=np.float32)
EXP = np.exp(np.array([[-1.0, 2.0], [0.5, -3.0]], dtype=np.float32))


@pytest.mark.parametrize(("op", "verdict"), [("Relu", "agree"), ("Bernoulli", "refused")])
def test_verdicts(tmp_path: Path, op: str, verdict: str) -> None:
    assert judged(_write(tmp_path / op, op, RELU)).split(":")[0] == verdict


def test_an_increasing_function_is_judged_by_the_written_file(tmp_path: Path) -> None:
    assert judged(_write(tmp_path / "exp", "Exp", EXP)) == "agree"


def test_another_value_is_wrong_unless_the_runtime_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _write(tmp_path / "relu", "Relu", RELU + 0.1)
    # ONNX Runtime on the file gives what we give: the record is odd.
    assert judged(folder) == "agree"
    monkeypatch.setattr("benchmarks.node_tests.forward64", lambda n, x: [x * 2.0])
    assert judged(folder).startswith("wrong")


def test_refusals_are_grouped_without_names() -> None:
    said = "refused: model: node 'deep/layer_7' (Pow): raises a value of shape (3, 4) to 2.5"
    assert reason(said).split() == ["(Pow):", "raises", "a", "value", "of", "shape", "to"]
