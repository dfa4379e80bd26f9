"""Certificates of distances where some elements may not change."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from graphprune.check import Proof, ProofFile, Refused, read, read_model, verify, write
from graphprune.check.steps import Model
from graphprune.cli.app import run as main
from tests.conftest import MODELS

MODEL, IMAGES = MODELS / "mnist-tiny.onnx", MODELS / "mnist-test-100.npz"


@cache
def _patch(folder: Path) -> tuple[Model, ProofFile]:
    """The distance of image 0 by a patch in its middle."""
    path = folder / "patch.gpc"
    code = main([
        "distance", str(MODEL), "--anchors", str(IMAGES), "--index", "0", "--quiet",
        "--threat", "patch{size=9}", "--certificate", str(path),
    ])  # fmt: skip
    assert code == 0
    return read_model(MODEL), read(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fixed")


def test_a_distance_by_a_patch_is_proven(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, file = _patch(folder)
    (found,) = verify(file, model)
    assert found.exact
    assert found.moving == 81
    assert main(["check", str(folder / "patch.gpc"), str(MODEL)]) == 0
    assert "where only 81 elements may change" in capsys.readouterr().out
    (again,) = read(BytesIO(write(file))).proofs
    assert again.fixed is not None
    assert np.array_equal(
        again.fixed, file.proofs[0].fixed if file.proofs[0].fixed is not None else []
    )


def _without(proof: Proof) -> Proof:
    return replace(proof, fixed=None)


def _freed(proof: Proof) -> Proof:
    assert proof.fixed is not None
    fixed = proof.fixed.copy()
    fixed[28 * 4 : 28 * 24] = 0
    return replace(proof, fixed=fixed)


def _elsewhere(proof: Proof) -> Proof:
    assert proof.fixed is not None
    return replace(proof, fixed=np.roll(proof.fixed, 5))


def _longer(proof: Proof) -> Proof:
    assert proof.fixed is not None
    return replace(proof, fixed=np.append(proof.fixed, np.int8(1)))


def _other(proof: Proof) -> Proof:
    assert proof.fixed is not None
    return replace(proof, fixed=2 * proof.fixed)


def _moved(proof: Proof) -> Proof:
    assert proof.point is not None
    point = proof.point.copy()
    point[0, 0, 0] += 0.01
    return replace(proof, point=point)


@pytest.mark.parametrize("change", [_without, _freed, _elsewhere, _longer, _other, _moved])
def test_a_proof_about_other_elements_is_refused(
    folder: Path, change: Callable[[Proof], Proof]
) -> None:
    model, file = _patch(folder)
    with pytest.raises(Refused):
        verify(replace(file, proofs=(change(file.proofs[0]),)), model)
