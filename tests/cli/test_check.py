"""``check`` and ``distance --certificate``: files, messages, exit codes."""

import json
from pathlib import Path

import pytest

from graphprune.cli.app import run
from tests.conftest import MODELS

TINY, IMAGES = str(MODELS / "mnist-tiny.onnx"), str(MODELS / "mnist-test-100.npz")


def test_from_the_distance_to_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof, found = str(tmp_path / "proof.gpc"), tmp_path / "found.json"
    arguments = ["--anchors", IMAGES, "--index", "6,8", "--certificate", proof, "--quiet"]
    assert run(["distance", TINY, *arguments, "--json", str(found)]) == 0
    assert run(["check", proof, TINY]) == 0
    out = capsys.readouterr().out.splitlines()
    bound = json.loads(found.read_text())["anchors"][0]["d_bnd"]
    assert bound["certified"] is True
    assert out[0].startswith(f"anchor 6, label 4: {bound['lower']:.9g} <= distance")
    assert "(exact)" in out[0]
    assert out[-1].startswith("verified: 2 anchors")
    assert run(["check", proof, TINY, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    # Refused: 1. Nothing to verify: 2.
    assert run(["check", proof, str(MODELS / "mnist-a.onnx")]) == 1
    assert "another model" in capsys.readouterr().err
    data = Path(proof).read_bytes()
    Path(proof).write_bytes(data[: len(data) // 2])
    assert run(["check", proof, TINY]) == 2
    assert "not a certificate" in capsys.readouterr().err
    assert run(["check", str(tmp_path / "none"), TINY]) == 2
    assert run(["check", TINY, TINY]) == 2
    assert run(["check", proof, IMAGES]) == 2
    assert "not a valid ONNX model" in capsys.readouterr().err


def test_usage_of_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = str(tmp_path / "proof.gpc")
    base = ["--anchors", IMAGES, "--limit", "1", "--certificate", proof]
    assert run(["evaluate", TINY, *base, "--metrics", "adv"]) == 2
    assert run(["evaluate", TINY, TINY, *base]) == 2
    assert "of one model" in capsys.readouterr().err
    assert run(["distance", TINY, *base[:-1], str(tmp_path / "no" / "proof.gpc")]) == 2
    assert not Path(proof).exists()
