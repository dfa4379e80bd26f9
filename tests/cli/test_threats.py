"""``--threat`` on the command line: runs, points, files written, and messages."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import graphprune as gp
from graphprune.attacks.attack import Attack
from graphprune.cli.app import run as main
from graphprune.evaluate import executors
from graphprune.evaluate.results import Known, Task
from graphprune.evaluate.settings import Metric, Settings
from graphprune.evaluate.tasks import perform
from graphprune.runtime.original import run_original
from tests.canonical.models import model_of, node


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A network of two normalised features, two anchors, and what threats may name."""
    v = {"w": np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32)}
    onnx.save(model_of([node("MatMul", "x w", "y")], ["n", 2], constants=v), tmp_path / "m.onnx")
    x = np.array([[0.6, 0.3], [0.2, 0.9]], np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.array([0, 1]))
    np.save(tmp_path / "weights.npy", np.array([1.0, 0.0]))
    np.save(tmp_path / "wrong.npy", np.ones(3))
    np.save(tmp_path / "end.npy", np.array([0.1, 0.8]))
    return tmp_path


def run(folder: Path, *arguments: str, command: str = "evaluate") -> tuple[int, dict[str, object]]:
    out = folder / "out.json"
    out.unlink(missing_ok=True)
    code = main([
        command, str(folder / "m.onnx"), "--anchors", str(folder / "a.npz"), "--quiet",
        "--json", str(out), *arguments,
    ])  # fmt: skip
    return code, json.loads(out.read_text()) if out.exists() else {}


def values(document: dict[str, object], index: int = 0) -> tuple[float, float, float]:
    anchors = document["anchors"]
    assert isinstance(anchors, list)
    found = anchors[index]
    return found["d_rob"]["value"], found["d_bnd"]["upper"], found["d_adv"]["value"]


# f_0 - f_1 = 2 (x_0 - x_1): 0.6 at the first anchor.
@pytest.mark.parametrize(
    ("threat", "distance"),
    [
        ("scale{by=2,0.5}", 0.3 / 2.5),
        ("features{only=1}", 0.3),
        ("normalise{mean=0.1 std=0.5,0.5}", 0.15),
        ("interpolate{to=END}", 0.3),
        ("contrast", 1.0),
    ],
)
def test_every_metric_has_the_distance_in_the_threats_units(
    files: Path, threat: str, distance: float
) -> None:
    threat = threat.replace("END", str(files / "end.npy"))
    code, document = run(files, "--threat", threat, "--index", "0")
    if "normalise" in threat:
        distance = 0.15  # std is the same for both features: the boundary is where it was
    assert code == 0
    rob, bnd, adv = values(document)
    assert bnd == pytest.approx(distance, rel=2e-4)
    assert adv == pytest.approx(distance, rel=2e-4)
    assert rob == pytest.approx(distance, rel=2e-3)
    for command, key in (("attack", "value"), ("distance", "upper"), ("certify", "value")):
        code, document = run(files, "--threat", threat, "--index", "0", command=command)
        (metric,) = (
            part for name, part in document["anchors"][0].items()  # type: ignore[index]
            if name.startswith("d_")
        )  # fmt: skip
        assert metric[key] == pytest.approx(distance, rel=2e-3)


def test_workers_read_the_file_and_put_the_threat_in_front(files: Path) -> None:
    network = gp.load(files / "m.onnx")
    anchor = gp.load_anchors(files / "a.npz")[0]
    settings = Settings(threat="normalise{mean=0.1,0 std=0.5} | scale{by=2}")  # type: ignore[arg-type]
    task = Task(network.source.sha256, 0, Metric.ADV)
    executors._models[task.model] = network.source.proto.SerializeToString()
    here = perform(settings.prepared(network), anchor, task, settings, Known())
    there = executors.work(task, anchor, settings, Known())
    assert isinstance(here.found, Attack)
    assert isinstance(there.found, Attack)
    assert here.found.distance == there.found.distance == pytest.approx(0.2 / 4, rel=1e-4)


def test_points_and_pages_show_inputs_and_the_file_confirms_them(files: Path) -> None:
    code, document = run(
        files, "--threat", "scale{by=2,0.5}", "--save-points", str(files / "p.npz"),
        "--html", str(files / "p.html"), "--estimate", "nearest",
    )  # fmt: skip
    assert code == 0
    network = gp.load(files / "m.onnx")
    found = np.load(files / "p.npz")
    anchors = np.load(files / "a.npz")
    assert found["x"].shape == (6, 2)
    assert found["x"].dtype == np.float32
    for index, x, target, metric in zip(
        found["index"], found["x"], found["target"], found["metric"], strict=True
    ):
        scores = run_original(network, x[None])[0]
        assert scores[target] >= scores[anchors["y"][index]]
        length = np.abs((x - anchors["x"][index].astype(float)) / [2.0, 0.5]).max()
        if metric == "d_bnd":
            assert length == pytest.approx(values(document, int(index))[1], rel=1e-9)
    assert "scale{by=2+0.5}" in (files / "p.html").read_text()


def test_a_run_goes_on_with_the_same_threat_alone(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threat = f"scale{{by={files}/weights.npy}}"
    out = ("--out", str(files / "run"))
    _, first = run(files, "--threat", threat, *out, "--metrics", "adv")
    code, both = run(files, "--threat", threat, *out)
    assert code == 0
    rob, bnd, adv = values(both)
    assert rob <= bnd <= adv * (1 + 1e-9)
    assert first["anchors"][0]["d_adv"] == both["anchors"][0]["d_adv"]  # type: ignore[index]
    assert main(["report", str(files / "run"), "--format", "csv"]) == 0
    capsys.readouterr()
    for other in (None, "scale{by=2}"):
        assert run(files, *(() if other is None else ("--threat", other)), *out)[0] == 2
        assert "belongs to a run with other settings" in capsys.readouterr().err
    np.save(files / "weights.npy", np.array([1.0, 0.5]))
    assert run(files, "--threat", threat, *out)[0] == 2
    assert "threat_sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--threat", "mask{file=wrong.npy}"], "wrong.npy has shape (3,), samples have (2,)"),
        (["--threat", "scale{by=1,-2}"], "must not be negative"),
        (["--threat", "scale{by=0}"], "cannot move: every element is fixed"),
        (["--threat", "subspace{file=wrong.npy}"], "a matrix (2, k) is needed"),
        (["--threat", "normalise{mean=128 std=64}"], "outside the domain [0, 1]"),
        (["--threat", "normalise{mean=0.5 std=0.2}", "--domain", "0,255"], "those of values in"),
        (["--threat", "normalise{mean=128 std=64}", "--domain", "0,255"], "anchor 0 has values in"),
        (["--threat", "normalise", "--domain", "0.5,1"], "outside the domain"),
        (["--threat", "interpolate{to=wrong.npy}"], "holds no points of shape (2,)"),
        (["--threat", "fog"], "unknown threat model 'fog'"),
        (["--threat", "patch"], "'patch' is for images; samples have shape (2,)"),
        (["--threat", "interpolate{to=a.npz}", "--index", "0"], "cannot move anchor 0"),
        (["--threat", "scale{by=m.onnx}"], "m.onnx: files of numbers are .npy, .npz, .csv or .png"),
    ],
)
def test_what_does_not_fit_is_one_message(
    files: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(files)
    assert run(files, *more)[0] == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_passes_lists_threat_models_and_details_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes"]) == 0
    assert "Threat models:" in capsys.readouterr().out
    assert main(["passes", "interpolate"]) == 0
    told = capsys.readouterr().out
    assert "to=...  (FILE|N+N+...)" in told
    assert "index=0  (int)" in told
    assert main(["passes", "interpolat"]) == 2
    assert "did you mean 'interpolate'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("threat", "z", "x"),
    [
        ("normalise{mean=0.25 std=0.5}", [0.5, 1.0], [0.5, 1.5]),
        ("scale{by=2,0}", [0.1, 7.0], [0.8, 0.3]),
        ("features{only=1}", [7.0, 0.1], [0.6, 0.4]),
        ("uniform", [0.5], [1.0, 0.8]),
        ("uniform", [-0.5], [0.1, 0.0]),
    ],
)
def test_opt_writes_the_network_of_a_threats_variables(
    files: Path, threat: str, z: list[float], x: list[float]
) -> None:
    out = files / "z.onnx"
    code = main([
        "opt", str(files / "m.onnx"), "-o", str(out), "--threat", threat,
        "--anchors", str(files / "a.npz"), "--quiet",
    ])  # fmt: skip
    assert code == 0
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    scores = session.run(None, {"x": np.array([z], np.float32)})[0]
    assert np.allclose(
        scores, run_original(gp.load(files / "m.onnx"), np.array([x], np.float32)), atol=1e-6
    )
    known = {entry.key: entry.value for entry in onnx.load(out).metadata_props}
    assert known["graphprune.threat"] == threat.replace(",", "+")


def test_opt_runs_passes_on_a_threats_network(files: Path) -> None:
    out = files / "z.onnx"
    code = main([
        "opt", str(files / "m.onnx"), "-o", str(out), "--threat", "uniform", "--index", "1",
        "--passes", "bounds{radius=0.05}, prune-stable, fuse-affine", "--verify-each", "--quiet",
        "--anchors", str(files / "a.npz"), "--for", "verifier",
    ])  # fmt: skip
    assert code == 0
    network = gp.load(out)
    assert network.input_shape == (1,)
    assert not network.live_neurons


def test_opt_says_what_a_threat_needs(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["opt", str(files / "m.onnx"), "-o", str(files / "z.onnx"), "--threat"]
    assert main([*base, "uniform"]) == 2
    assert "is about one anchor: give --anchors FILE" in capsys.readouterr().err
    assert main([*base, "normalise", "--keep-outputs"]) == 2
    assert "not with --threat" in capsys.readouterr().err


def test_verify_reads_properties_in_raw_units(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"(declare-const {n} Real)" for n in ("X_0", "X_1", "Y_0", "Y_1")]
    box = [(0, 0.5, 0.7), (1, 0.25, 0.4)]
    lines += [f"(assert (>= X_{i} {low}))(assert (<= X_{i} {high}))" for i, low, high in box]
    (files / "p.vnnlib").write_text("\n".join([*lines, "(assert (>= Y_1 Y_0))"]))
    # Raw points have x_0 > x_1; where the file takes (x - (0.3, 0)) / 0.5, some have not.
    for threat, verdict in ((None, "unsat"), ("normalise{mean=0.3,0 std=0.5}", "sat")):
        more = [] if threat is None else ["--threat", threat]
        assert main(["verify", str(files / "m.onnx"), str(files / "p.vnnlib"), *more]) == 0
        told = capsys.readouterr().out
        assert told.splitlines()[0] == verdict
    assert (
        main(["verify", str(files / "m.onnx"), str(files / "p.vnnlib"), "--threat", "uniform"]) == 2
    )
    assert "verify takes units alone" in capsys.readouterr().err
