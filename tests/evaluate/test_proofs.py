"""Certificates of runs: what is reported is what is proven."""

import json
import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.backends.certificate import BallQuery, UnboundedError, UnprovenError, prove_ball
from graphprune.check import read, verify, write
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.evaluate import proofs, tasks
from graphprune.evaluate.distance import exact_distance
from graphprune.evaluate.proofs import checkable, proof_file
from graphprune.evaluate.results import Job
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.settings import Settings
from tests.check.helpers import WIDTHS, Case
from tests.conftest import MODELS


def _saved(case: Case, folder: Path) -> gp.Network:
    onnx.save(case.net.model(), folder / "model.onnx")
    return gp.load(folder / "model.onnx")


@pytest.mark.parametrize("seed", range(6))
def test_distances_are_certified(seed: int, tmp_path: Path) -> None:
    case = Case.random(seed, WIDTHS[seed % len(WIDTHS)])
    network = _saved(case, tmp_path)
    job = Job(network, [gp.Anchor(case.x, case.label)])
    settings = Settings(metrics=("bnd",), certificate=True)
    model = checkable(network)
    outcome = evaluate([job], settings)
    file = proof_file(model, job, outcome, settings)
    (tmp_path / "proof.gpc").write_bytes(write(file))
    (result,) = verify(read(tmp_path / "proof.gpc"), model)
    (record,) = outcome.documents[0]["anchors"]
    bound = record["d_bnd"]
    assert bound["certified"]
    assert bound["lower"] == result.lower <= case.distance * (1 + 1e-7)
    assert bound["upper"] == result.upper
    if np.isfinite(case.distance):
        assert bound["status"] == "exact"
        assert result.exact
    else:
        assert bound["status"] == "robust"


def test_limits_radii_and_misclassified_anchors(tmp_path: Path) -> None:
    network = gp.load(MODELS / "mnist-tiny.onnx")
    images = gp.load_anchors(MODELS / "mnist-test-100.npz", network)
    job = Job(network, [images[7], images[8]])
    model = checkable(network)
    settings = Settings(metrics=("bnd",), radius=0.02, certificate=True)
    outcome = evaluate([job], settings)
    file = proof_file(model, job, outcome, settings)
    first, second = verify(file, model)
    assert first.lower >= 0.02
    assert first.upper is None
    assert (second.lower, second.upper) == (0.0, 0.0)
    assert [r["status"] for r in outcome.documents[0]["anchors"]] == ["ok", "misclassified"]
    # No time at all: what a forward pass proves, and no more is claimed.
    hurried = Settings(metrics=("bnd",), time_limit=0.0, certificate=True)
    outcome = evaluate([job], hurried)
    (record, _) = outcome.documents[0]["anchors"]
    late = verify(proof_file(model, job, outcome, hurried), model)[0]
    assert late.lower == record["d_bnd"]["lower"] < first.lower


def test_a_proof_that_runs_out_of_time_says_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    network = gp.load(MODELS / "mnist-tiny.onnx")
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[2]
    asked: list[float] = []

    def slow(question: BallQuery, *args: Any, **options: Any) -> Any:
        asked.append(question.radius)
        if len(asked) < 4:
            raise UnprovenError("time is over")
        return prove_ball(question, *args, **options)

    monkeypatch.setattr(proofs, "prove_ball", slow)
    settings = Settings(metrics=("bnd",), certificate=True)
    job = Job(network, [anchor])
    outcome = evaluate([job], settings)
    (result,) = verify(proof_file(checkable(network), job, outcome, settings), checkable(network))
    bound = outcome.documents[0]["anchors"][0]["d_bnd"]
    assert bound["lower"] == result.lower == asked[-1] < 0.7 * bound["uncertified_lower"]
    assert (bound["status"], bound["certified"]) == ("interval", True)
    assert gp.distance(network, anchor).lower == bound["uncertified_lower"]


def test_run_directories_keep_certificates_with_results(tmp_path: Path) -> None:
    network = gp.load(MODELS / "mnist-tiny.onnx")
    images = gp.load_anchors(MODELS / "mnist-test-100.npz", network)
    job, model = Job(network, images[2:5]), checkable(network)
    first = Settings(metrics=("bnd",))
    folder = tmp_path / "run"
    evaluate([Job(network, images[2:3])], first, run_dir=folder)
    # Asking for certificates later proves what was found without.
    proving = Settings(metrics=("bnd",), certificate=True)
    outcome = evaluate([job], proving, run_dir=folder)
    written = write(proof_file(model, job, outcome, proving))
    (tmp_path / "proof.gpc").write_bytes(written)
    assert [r.index for r in verify(read(tmp_path / "proof.gpc"), model)] == [2, 3, 4]
    # What the store says is what its certificate proves.
    with closing(sqlite3.connect(folder / "run.sqlite")) as db:
        rows = db.execute(
            "SELECT value, certificate FROM results JOIN proofs USING (model, idx, task)"
        ).fetchall()
    assert len(rows) == 3
    for value, certificate in rows:
        (result,) = verify(read(BytesIO(certificate)), model)
        assert result.lower == json.loads(value)["lower"]
    # Resumed: nothing is computed again, and the certificate is the same.
    again = evaluate([job], proving, run_dir=folder)
    assert write(proof_file(model, job, again, proving)) == written
    records = [r["d_bnd"]["proof_seconds"] for r in again.documents[0]["anchors"]]
    assert records == [r["d_bnd"]["proof_seconds"] for r in outcome.documents[0]["anchors"]]


def test_workers_prove_too(tmp_path: Path) -> None:
    network = gp.load(MODELS / "mnist-tiny.onnx")
    images = gp.load_anchors(MODELS / "mnist-test-100.npz", network)
    settings = Settings(metrics=("bnd",), certificate=True, workers=2)
    job = Job(network, images[2:4])
    outcome = evaluate([job], settings)
    verified = verify(proof_file(checkable(network), job, outcome, settings), checkable(network))
    assert [r.exact for r in verified] == [True, True]


def test_what_cannot_be_certified_is_said_before_the_search(tmp_path: Path) -> None:
    case = Case.random(1, [2, 4, 2])
    with pytest.raises(GraphpruneError, match="save the model"):
        checkable(gp.from_proto(case.net.model()))
    network = _saved(case, tmp_path)
    onnx.save(Case.random(2, [2, 4, 2]).net.model(), tmp_path / "model.onnx")
    with pytest.raises(GraphpruneError, match="changed since"):
        checkable(network)
    proto = case.net.model()
    proto.graph.node[1].op_type = "Tanh"
    onnx.save(proto, tmp_path / "tanh.onnx")
    with pytest.raises(UnsupportedError, match="Tanh"):
        checkable(gp.load(tmp_path / "tanh.onnx"))


def test_a_ball_too_large_for_the_time_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another 90 % of it would end in the same place, with half of the time."""
    case = Case.random(0, WIDTHS[0])
    network, tried = _saved(case, tmp_path), []

    def prove(question: BallQuery, *rest: Any, **options: Any) -> Any:
        tried.append(question.radius)
        if question.radius > 0.3 * tried[0]:
            raise UnboundedError("time is over")
        return prove_ball(question, *rest, **options)

    monkeypatch.setattr(proofs, "prove_ball", prove)
    settings = Settings(metrics=("bnd",), certificate=True)
    outcome = evaluate([Job(network, [gp.Anchor(case.x, case.label)])], settings)
    assert [radius / tried[0] for radius in tried] == pytest.approx([1.0, 0.5, 0.25])
    assert outcome.documents[0]["anchors"][0]["d_bnd"]["lower"] == pytest.approx(tried[-1])


def test_a_proof_has_time_where_the_search_used_all_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case.random(0, WIDTHS[0])
    network, left = _saved(case, tmp_path), []

    def prove(query: Any, found: Any, resources: Any) -> Any:
        left.append(resources.remaining())
        return proofs.prove(query, found, resources)

    def search(query: Any, resources: Any, settings: Any) -> Any:
        found = exact_distance(query, resources, settings)
        while resources.remaining() > 0.0:
            pass
        return found

    monkeypatch.setattr(tasks, "prove", prove)
    monkeypatch.setattr(tasks, "exact_distance", search)
    settings = Settings(metrics=("bnd",), certificate=True, time_limit=1.0)
    outcome = evaluate([Job(network, [gp.Anchor(case.x, case.label)])], settings)
    assert left[0] > 0.5
    assert outcome.documents[0]["anchors"][0]["d_bnd"]["lower"] > 0.9 * case.distance
