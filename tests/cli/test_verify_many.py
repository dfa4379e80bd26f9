"""`verify` with several properties."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from graphprune.cli.progress import Line
from graphprune.cli.verify_many import Batch, property_files
from graphprune.errors import GraphpruneError
from tests.conftest import MODELS
from tests.oracles import Perceptron

TEXT = """(declare-const X_0 Real)
(declare-const Y_0 Real)
(assert (>= X_0 -1)) (assert (<= X_0 1))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model y = relu(x), and properties below a folder: sat, unsat and one that is wrong."""
    net = Perceptron([np.eye(1), np.eye(1)], [np.zeros(1), np.zeros(1)])
    onnx.save(net.model(), tmp_path / "model.onnx")
    inside = tmp_path / "properties" / "inner"
    inside.mkdir(parents=True)
    (inside / "b-sat.vnnlib").write_text(TEXT + "(assert (>= Y_0 0.5))")
    (inside / "a-unsat.vnnlib").write_text(TEXT + "(assert (>= Y_0 1.5))")
    (inside / "note.txt").write_text("no property")
    return tmp_path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "graphprune", "verify", *map(str, arguments)]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, timeout=120
    )


def test_a_folder_has_a_table(folder: Path) -> None:
    wrong = folder / "wrong.vnnlib"
    wrong.write_text(TEXT + "(assert (>= Y_7 0.5))")
    done = run(folder / "model.onnx", folder / "properties", wrong, "--jobs", "2")
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["unsat", "sat", "error", "3"]
    assert lines[0].endswith("a-unsat.vnnlib")
    assert "wrong.vnnlib: line 4: Y_7 is not declared" in lines[2]
    assert lines[3] == "3 properties: 1 sat, 1 unsat, 1 error"
    assert "Traceback" not in done.stderr


def test_events(folder: Path) -> None:
    done = run(folder / "model.onnx", folder / "properties", "--json-lines")
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = [event for event in events if event["event"] == "verdict"]
    assert [event["verdict"] for event in told] == ["unsat", "sat"]
    assert told[1]["y"][0] == max(told[1]["x"][0], 0.0)
    assert events[-1]["verdicts"] == {"unsat": 1, "sat": 1}


def test_limits_and_interruptions_keep_what_is_finished(tmp_path: Path) -> None:
    """A property that takes longer than any test waits, before and after an easy one."""
    with np.load(MODELS / "mnist-test-100.npz") as images:
        x, y = images["x"][0].reshape(-1).astype(float) / 255.0, int(images["y"][0])
    names = [f"X_{i}" for i in range(784)] + [f"Y_{j}" for j in range(10)]
    declared = "".join(f"(declare-const {name} Real)\n" for name in names)

    def box(radius: float) -> str:
        return declared + "".join(
            f"(assert (>= X_{i} {max(v - radius, 0)})) (assert (<= X_{i} {v + radius}))\n"
            for i, v in enumerate(x)
        )

    others = " ".join(f"(and (>= Y_{j} Y_{y}))" for j in range(10) if j != y)
    (tmp_path / "easy.vnnlib").write_text(box(0.001) + f"(assert (or {others}))")
    (tmp_path / "hard.vnnlib").write_text(box(0.045) + f"(assert (or {others}))")
    model = MODELS / "mnist-a.onnx"
    hard, easy = tmp_path / "hard.vnnlib", tmp_path / "easy.vnnlib"
    done = run(model, hard, easy, "--timeout", "6")
    assert [line.split()[0] for line in done.stdout.splitlines()][:2] == ["timeout", "unsat"]
    with subprocess.Popen(
        command(model, easy, hard, "--timeout", "300"), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stderr:
            if "1 of 2 decided; " in line:
                break
        process.send_signal(signal.SIGINT)
        table = process.stdout.read().splitlines()
    assert process.returncode == 130
    assert table[0].startswith("unsat")
    assert table[1] == "2 properties: 1 unsat, 1 not decided"


def test_counterexamples_are_images(tmp_path: Path) -> None:
    """y = sum of a 4 x 4 image in [0, 1]: at least 15.99 only where nearly all pixels are white."""
    net = Perceptron([np.ones((1, 16)), np.eye(1)], [np.zeros(1), np.zeros(1)])
    proto = net.model()
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    batch = dims[0].dim_param or dims[0].dim_value
    del proto.graph.input[0].type.tensor_type.shape.dim[:]
    shaped = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [batch, 1, 4, 4])
    proto.graph.node.insert(
        0, onnx.helper.make_node("Flatten", ["image"], [proto.graph.input[0].name], axis=1)
    )
    proto.graph.input[0].CopyFrom(shaped)
    onnx.save(proto, tmp_path / "model.onnx")
    said = "".join(f"(declare-const X_{i} Real)" for i in range(16)) + "(declare-const Y_0 Real)"
    said += "".join(f"(assert (>= X_{i} 0)) (assert (<= X_{i} 1))" for i in range(16))
    for name, limit in (("white", 15.99), ("more", 16.5), ("bright", 15.0)):
        (tmp_path / f"{name}.vnnlib").write_text(said + f"(assert (>= Y_0 {limit}))")
    paths = [tmp_path / f"{name}.vnnlib" for name in ("white", "more", "bright")]
    images = tmp_path / "images"
    done = run(tmp_path / "model.onnx", *paths, "--save-images", images)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in images.iterdir()) == ["bright.png", "white.png"]
    with Image.open(images / "white.png") as picture:
        assert picture.size == (4, 4)
        assert np.asarray(picture).min() >= 250
    done = run(tmp_path / "model.onnx", paths[0], "--save-images", tmp_path / "single")
    assert done.stdout.startswith("sat")
    assert (tmp_path / "single" / "white.png").exists()


def test_points_that_are_no_images_are_refused(folder: Path) -> None:
    one = folder / "properties/inner/b-sat.vnnlib"
    done = run(folder / "model.onnx", one, "--save-images", folder / "images")
    assert (done.returncode, done.stdout) == (2, "")
    assert "are no images" in done.stderr


def test_one_property_has_no_jobs(folder: Path) -> None:
    done = run(folder / "model.onnx", folder / "properties/inner/b-sat.vnnlib", "--jobs", "2")
    assert done.returncode == 2
    assert "--jobs changes nothing" in done.stderr


def test_files_are_found_once_and_in_order(folder: Path) -> None:
    one = str(folder / "properties/inner/b-sat.vnnlib")
    found = property_files([one, str(folder / "properties"), "missing.vnnlib"])
    assert [Path(name).name for name in found] == [
        "b-sat.vnnlib",
        "a-unsat.vnnlib",
        "missing.vnnlib",
    ]
    (folder / "none").mkdir()
    with pytest.raises(GraphpruneError, match="no property files"):
        property_files([str(folder / "none")])


def test_a_worker_that_dies_is_an_error_and_the_next_property_gets_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphprune.cli.verify_many.WORKER", "graphprune.cli.no_such_module")
    batch = Batch(["a", "b", "c"], {}, 10.0, Line(quiet=True))
    batch.run(2)
    assert all("its process ended with code 1" in r["error"] for r in batch.records.values())
    assert batch.table().endswith("3 properties: 3 error")
