"""Files that are wrong: one message each, never a traceback, never a wrong number."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.runtime.original import run_original
from tests.conftest import MODELS
from tests.oracles import Perceptron

NET = Perceptron.random(np.random.default_rng(0), [3, 4, 2])


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path, said: str) -> None:
    with pytest.raises(gp.GraphpruneError, match=said) as caught:
        gp.load(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "no.onnx", "no such file")


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "d.onnx").mkdir()
    refused(tmp_path / "d.onnx", "cannot read")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08\x08", os.urandom(200), b"\x00" * 64])
def test_not_onnx(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    refused(path, "not a.* ONNX model")


def test_truncated_at_every_length(tmp_path: Path) -> None:
    data = NET.model().SerializeToString()
    path = tmp_path / "m.onnx"
    for cut in range(0, len(data) - 1, 7):
        path.write_bytes(data[:cut])
        with pytest.raises(gp.GraphpruneError):
            gp.load(path)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_weights_that_are_not_finite(tmp_path: Path, value: float, kind: str) -> None:
    model = NET.model()
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[0, 0] = value
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w0"))
    refused(write(tmp_path / "m.onnx", model), f"initialiser 'w0' holds {kind}")


@pytest.mark.parametrize("version", [5, 99])
def test_opset(tmp_path: Path, version: int) -> None:
    model = NET.model()
    model.opset_import[0].version = version
    refused(write(tmp_path / "m.onnx", model), f"opset {version} is not supported")


def test_foreign_domain_names_the_node(tmp_path: Path) -> None:
    model = NET.model()
    model.opset_import.append(helper.make_opsetid("com.acme", 1))
    model.graph.node[1].domain = "com.acme"
    refused(write(tmp_path / "m.onnx", model), r"\(com.acme::Relu\).*domain 'com.acme'|valid ONNX")


def external(location: str) -> onnx.ModelProto:
    model = NET.model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", ""])
def test_external_data_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 48)
    folder = tmp_path / "model"
    folder.mkdir()
    refused(write(folder / "m.onnx", external(location)), "outside the model's folder")


def test_external_data_behind_a_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 48)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "w.bin").symlink_to(tmp_path / "secret.bin")
    refused(write(folder / "m.onnx", external("w.bin")), "outside the model's folder")


def test_external_data_by_a_bare_relative_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 48)
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder / "m.onnx", external("../secret.bin"))
    monkeypatch.chdir(folder)
    with pytest.raises(gp.GraphpruneError, match="outside the model's folder"):
        gp.load("m.onnx")


def test_external_data_in_the_folder_is_read(tmp_path: Path) -> None:
    weight = NET.weights[0].astype(np.float32)
    (tmp_path / "w.bin").write_bytes(weight.tobytes())
    network = gp.load(write(tmp_path / "m.onnx", external("w.bin")))
    assert network.parameters == gp.from_proto(NET.model()).parameters


def test_external_data_that_is_missing_or_short(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", external("w.bin"))
    refused(path, "'w.bin'.*missing")
    (tmp_path / "w.bin").write_bytes(b"\0" * 5)
    refused(path, "")


def test_cycles_and_duplicate_names(tmp_path: Path) -> None:
    model = NET.model()
    model.graph.node[0].input[0] = "h0"
    refused(write(tmp_path / "m.onnx", model), "not a valid ONNX model")
    model = NET.model()
    model.graph.node[1].output[0] = "z0"
    refused(write(tmp_path / "m.onnx", model), "not a valid ONNX model")


def test_outputs_without_a_shape_are_read(tmp_path: Path) -> None:
    model = NET.model()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert gp.load(write(tmp_path / "m.onnx", model)).classes == 2


def test_initialisers_listed_as_inputs_are_weights(tmp_path: Path) -> None:
    model = NET.model()
    model.graph.input.append(helper.make_tensor_value_info("w0", TensorProto.FLOAT, [4, 3]))
    assert gp.load(write(tmp_path / "m.onnx", model)).input_shape == (3,)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.UINT8, TensorProto.BFLOAT16])
def test_input_types(tmp_path: Path, kind: int) -> None:
    model = NET.model()
    model.graph.input[0].type.tensor_type.elem_type = kind
    refused(write(tmp_path / "m.onnx", model), "input 'x' has type")


def test_saved_networks_load_again_and_leave_no_litter(tmp_path: Path, tiny: gp.Network) -> None:
    gp.save(tiny, tmp_path / "out.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]
    assert gp.load(tmp_path / "out.onnx").parameters == tiny.parameters


def test_unwritable_output_says_so(tiny: gp.Network, tmp_path: Path) -> None:
    with pytest.raises(gp.GraphpruneError, match="cannot write"):
        gp.save(tiny, tmp_path / "no" / "out.onnx")


def test_shipped_networks_are_what_the_readme_says() -> None:
    text = (MODELS / "README.md").read_text()
    files = sorted(MODELS.glob("*.onnx"))
    assert len(files) == 15
    for file in files:
        network = gp.load(file)
        row = next(line for line in text.splitlines() if f"`{file.stem}`" in line)
        cells = [cell.strip().replace(",", "") for cell in row.split("|")]
        assert str(network.parameters) in cells, file.stem
        assert str(network.neurons) in cells, file.stem


def test_a_link_without_its_external_data_says_what_to_do(tmp_path: Path) -> None:
    """As in download caches: the model is a link, its data another, side by side."""
    store, view = tmp_path / "store", tmp_path / "view"
    store.mkdir()
    view.mkdir()
    onnx.save(NET.model(), view / "m.onnx", save_as_external_data=True, location="m.data",
              size_threshold=0)  # fmt: skip
    (view / "m.onnx").rename(store / "a1b2")
    (view / "m.onnx").symlink_to(store / "a1b2")
    refused(view / "m.onnx", "'m.data'.*is missing in .*store, where the link leads; copy both")


def test_models_in_memory_are_loaded_like_files(tmp_path: Path) -> None:
    path = MODELS / "toy-2d.onnx"
    data = path.read_bytes()
    proto = onnx.load(path)
    file, *others = (gp.load(model) for model in (path, data, proto, str(path)))
    x = np.zeros((1, *file.input_shape), np.float32)
    for network in others:
        assert np.array_equal(run_original(network, x), run_original(file, x))
    assert others[0].source.path is None
    assert others[0].source.sha256 == file.source.sha256
    with pytest.raises(gp.GraphpruneError, match="not an ONNX model, or truncated"):
        gp.load(data[: len(data) // 2])
    onnx.save(proto, tmp_path / "e.onnx", save_as_external_data=True, size_threshold=0)
    away = onnx.load(tmp_path / "e.onnx", load_external_data=False)
    with pytest.raises(gp.GraphpruneError, match="load it by its path"):
        gp.load(away)
