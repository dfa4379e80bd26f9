"""Certificates of runs: what is reported is what is proven."""

from pathlib import Path

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.check import read, verify, write
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.evaluate.proofs import checkable, prove_run
from graphprune.evaluate.run import Job, Outcome, evaluate
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
    settings = Settings(metrics=("bnd",))
    model = checkable(network)
    file, outcome = prove_run(model, job, evaluate([job], settings), settings)
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
    settings = Settings(metrics=("bnd",), radius=0.02)
    file, outcome = prove_run(model, job, evaluate([job], settings), settings)
    first, second = verify(file, model)
    assert first.lower >= 0.02
    assert first.upper is None
    assert (second.lower, second.upper) == (0.0, 0.0)
    assert [r["status"] for r in outcome.documents[0]["anchors"]] == ["ok", "misclassified"]
    # No time at all: nothing is proven, and nothing is claimed.
    hurried = Settings(metrics=("bnd",), time_limit=0.0)
    file, outcome = prove_run(model, job, evaluate([job], hurried), hurried)
    assert verify(file, model)[0].lower == 0.0
    # Ctrl-C before the proofs: the certificate holds none.
    stopped = Outcome(outcome.documents, outcome.keyed_points, interrupted=True)
    file, after = prove_run(model, job, stopped, settings)
    assert file.proofs == ()
    assert after.interrupted


def test_what_cannot_be_certified_is_said_before_the_search(tmp_path: Path) -> None:
    case = Case.random(1, [2, 4, 2])
    with pytest.raises(GraphpruneError, match="save the model"):
        checkable(gp.from_proto(case.net.model()))
    network = _saved(case, tmp_path)
    onnx.save(Case.random(2, [2, 4, 2]).net.model(), tmp_path / "model.onnx")
    with pytest.raises(GraphpruneError, match="changed since"):
        checkable(network)
    proto = case.net.model()
    proto.graph.node[1].op_type = "LeakyRelu"
    onnx.save(proto, tmp_path / "leaky.onnx")
    with pytest.raises(UnsupportedError, match="LeakyRelu"):
        checkable(gp.load(tmp_path / "leaky.onnx"))
