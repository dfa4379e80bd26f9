"""The compiler driver: where it writes, and what it says."""

from pathlib import Path

import onnx
import pytest

from graphprune.cli.app import run
from tests.conftest import MODELS

TINY, IMAGES = str(MODELS / "mnist-tiny.onnx"), str(MODELS / "mnist-test-100.npz")
PRUNE = ["--anchors", IMAGES, "--passes", "bounds{radius=0.02}, prune-stable"]


def test_a_model_on_stdout_is_nothing_else(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["opt", TINY, "-o", "-", *PRUNE]) == 0
    said = capfdbinary.readouterr()
    onnx.checker.check_model(onnx.load_model_from_string(said.out))
    assert said.err.startswith(b"-: living neurons 346 -> ")


def test_reports_say_what_was_done_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["opt", TINY, "-o", str(tmp_path / "o.onnx"), *PRUNE, "--verify-each", "--stats"]
    for use in ("runtime", "verifier"):
        assert run([*common, "--for", use]) == 0
        said = capsys.readouterr().err
        assert " off, " in said
        assert ("removed, as whole units and layers" in said) == (use == "runtime")
        assert "prune-stable: 33 points, largest difference " in said
