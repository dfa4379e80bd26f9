"""External data of files that no message can hold (here of a few hundred bytes)."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import graphprune as gp
from graphprune.canonical.survey import survey
from graphprune.ir.external import has_external
from graphprune.ir.load import read_model
from graphprune.runtime.original import run_file, run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import compiled
from graphprune.transforms import forward
from tests.canonical.models import close
from tests.oracles import Perceptron

NET = Perceptron.random(np.random.default_rng(0), [3, 40, 4])


@pytest.fixture(autouse=True)
def small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.ir.external.MESSAGE", 500)
    monkeypatch.setattr("graphprune.ir.external.SMALL", 200)


def written(folder: Path, **changes: str) -> Path:
    """The network with every weight in ``w.bin``; `changes` are entries of the first one."""
    model, data = NET.model(), b""
    for i, tensor in enumerate(model.graph.initializer):
        array = onnx.numpy_helper.to_array(tensor)
        entries = {"location": "w.bin", "offset": str(len(data)), "length": str(array.nbytes)}
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (entries | (changes if i == 0 else {})).items():
            tensor.external_data.add(key=key, value=value)
        data += array.tobytes()
    (folder / "w.bin").write_bytes(data)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_large_tensors_stay_outside(tmp_path: Path) -> None:
    path = written(tmp_path)
    proto = read_model(path).proto
    assert has_external(proto)
    assert any(not t.external_data for t in proto.graph.initializer)
    network, expected = gp.load(path), gp.from_proto(NET.model())
    x = np.random.default_rng(0).random((3, 3)).astype(np.float32)
    assert np.array_equal(forward64(network, x)[0], forward64(expected, x)[0])
    assert close(run_original(network, x), run_original(expected, x), 1e-6)
    assert close(run_file(network, x), run_original(expected, x), 1e-6)
    assert len(survey(read_model(path))) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"location": "../w.bin"}, "outside the model's folder"),
        ({"location": "none.bin"}, "'none.bin' of initialiser 'w0' is missing"),
        ({"offset": "-1"}, "480 bytes at -1"),
        ({"offset": "99999999"}, "480 bytes at 99999999"),
        ({"length": "7"}, "7 bytes at 0 of .*, where its shape needs 480"),
        ({"offset": "x"}, "no number"),
    ],
)
def test_wrong_places_are_refused(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    with pytest.raises(gp.GraphpruneError, match=said):
        gp.load(written(tmp_path, **changes))


def test_graphs_that_no_message_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = gp.load(written(tmp_path))
    monkeypatch.setattr("graphprune.runtime.session.MESSAGE", 500)
    monkeypatch.setattr("graphprune.ir.export.MESSAGE", 500)
    with pytest.raises(gp.GraphpruneError, match="ONNX Runtime takes graphs up to 2 GiB"):
        compiled(network, "forward", lambda: forward(network, "float32"))
    with pytest.raises(gp.GraphpruneError, match="an ONNX file holds 2 GiB"):
        gp.save(network, tmp_path / "out.onnx")
