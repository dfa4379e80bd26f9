"""``--threshold`` and ``--margin``: what an adversarial point is, asked from the command line."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.cli.app import run as main
from graphprune.runtime.original import run_original
from tests.canonical.models import model_of, node


@pytest.fixture
def files(tmp_path: Path) -> Path:
    v = {"v": np.array([[2.0], [-1.0]], np.float32), "w": np.array([[1, -1], [-1, 1]], np.float32)}
    sigmoid = [node("MatMul", "x v", "z"), node("Sigmoid", "z", "y")]
    onnx.save(model_of(sigmoid, ["n", 2], constants=v), tmp_path / "one.onnx")
    two = [node("MatMul", "x w", "y")]
    onnx.save(model_of(two, ["n", 2], constants=v), tmp_path / "two.onnx")
    np.savez(tmp_path / "a.npz", x=np.array([[0.6, 0.3]], np.float32))
    return tmp_path


def run(folder: Path, model: str, *more: str) -> tuple[int, dict[str, object]]:
    out = folder / "out.json"
    code = main([
        "distance", str(folder / model), "--anchors", str(folder / "a.npz"), "--quiet",
        "--json", str(out), *more,
    ])  # fmt: skip
    return code, json.loads(out.read_text()) if out.exists() else {}


def d_bnd(document: dict[str, object]) -> float:
    anchors = document["anchors"]
    assert isinstance(anchors, list)
    assert anchors[0]["d_bnd"]["status"] == "exact"
    return float(anchors[0]["d_bnd"]["upper"])


def test_a_sigmoid_output_has_a_boundary_at_its_threshold(files: Path) -> None:
    for threshold, at in ((None, 0.0), (0.6, np.log(1.5))):
        more = () if threshold is None else ("--threshold", str(threshold))
        code, document = run(files, "one.onnx", *more)
        assert code == 0
        assert d_bnd(document) == pytest.approx((0.9 - at) / 3.0, rel=1e-4)
        settings = document["settings"]
        assert isinstance(settings, dict)
        assert settings.get("threshold") == threshold


def test_a_margin_moves_the_boundary(files: Path) -> None:
    for margin in (0.0, 0.2):
        _, document = run(files, "two.onnx", "--margin", str(margin))
        # f_0 - f_1 = 2 (x_0 - x_1), which a step of r lowers by 4 r.
        assert d_bnd(document) == pytest.approx((0.6 + margin) / 4.0, rel=1e-4)


def test_questions_that_do_not_fit_are_refused(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, more, said in (
        ("two.onnx", ["--threshold", "0.5"], "one output; this one has 2"),
        ("one.onnx", ["--threshold", "1.5"], "never takes the threshold 1.5"),
        ("two.onnx", ["--margin", "-1"], "--margin"),
        ("two.onnx", ["--margin", "1", "--certificate", str(files / "c")], "know no margin"),
    ):
        assert run(files, model, *more)[0] == 2
        assert said in capsys.readouterr().err


def test_saved_points_say_which_are_ties(files: Path) -> None:
    path = files / "p.npz"
    run(files, "two.onnx", "--save-points", str(path))
    network = gp.load(files / "two.onnx")
    with np.load(path) as saved:
        for x, tie in zip(saved["x"], saved["tie"], strict=True):
            assert tie == (run_original(network, x[None]).argmax() == 0)
    run(files, "two.onnx", "--save-points", str(path), "--margin", "0.1")
    with np.load(path) as saved:
        assert not saved["tie"].any()


def test_a_radius_is_answered_by_every_command(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The boundary is 0.15 away.
    for command, radius, verdict in (
        ("certify", 0.1, "certified"),
        ("certify", 0.16, "undecided"),
        ("attack", 0.1, "undecided"),
        ("attack", 0.16, "attacked"),
        ("distance", 0.1, "certified"),
        ("distance", 0.16, "attacked"),
        ("evaluate", 0.1, "certified"),
        ("evaluate", 0.16, "attacked"),
    ):
        out, page = files / "out.json", files / "page.html"
        assert main([
            command, str(files / "two.onnx"), "--anchors", str(files / "a.npz"),
            "--radius", str(radius), "--json", str(out), "--html", str(page),
        ]) == 0  # fmt: skip
        document = json.loads(out.read_text())
        (record,) = document["anchors"]
        assert record["at_radius"] == verdict
        if "d_rob" in record:
            assert record["d_rob"]["value"] <= radius
        found = document["summary"]["at_radius"]
        assert found["radius"] == radius
        assert found[verdict] == 1
        said = f"at radius {radius}: "
        assert said in capsys.readouterr().out
        assert said.capitalize() in page.read_text()
