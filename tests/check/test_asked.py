"""Certificates in every norm, by every kind of threat, for some classes and for the K best."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.certificate import BallQuery, UnprovenError, prove_ball
from graphprune.check import Prefix, Proof, ProofFile, Refused, parse_model, read, verify, write
from graphprune.check.norms import NORMS, norm_of
from graphprune.check.points import Points
from graphprune.check.steps import Model
from graphprune.cli.app import run as main
from graphprune.evaluate.proofs import checkable, proof_file
from graphprune.evaluate.results import Job
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.settings import Settings
from graphprune.region import Ball as Region
from graphprune.region import Domain
from graphprune.region import norm_of as region_norm
from graphprune.runtime.original import run_original
from graphprune.threats import Numbers, Threat, ThreatModel
from graphprune.threats.brightness import Brightness
from graphprune.threats.contrast import Contrast
from graphprune.threats.features import Features
from graphprune.threats.normalise import Normalise
from graphprune.threats.scale import Scaled
from graphprune.threats.subspace import Subspace
from graphprune.threats.uniform import Uniform
from tests.conftest import MODELS
from tests.oracles import Perceptron, brute_force_distance

NAMES = st.sampled_from(sorted(NORMS))


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), NAMES, st.integers(1, 7))
def test_least_values_lie_below_all_points_and_near_the_region_s(
    seed: int, name: str, n: int
) -> None:
    rng = np.random.default_rng(seed)
    center, radius = rng.uniform(-1, 1, n), float(10.0 ** rng.uniform(-3, 0.5))
    ways = rng.choice([0.0, 0.01, 0.3, 4.0], (2, n))
    low, high = center - ways[0], center + ways[1]
    norm = norm_of(name)
    ball = Points.around(center, radius, low, high, norm)
    rows = rng.normal(size=(5, n)) * 10.0 ** rng.integers(-3, 3, (5, n))
    rows[0] = 0.0
    found = ball.minimum(rows)
    region = Region(center, radius, Domain(low, high), name)
    steps = rng.normal(size=(200, n)) * rng.choice([0.0, 1.0], (200, n), p=[0.3, 0.7])
    lengths = np.array([norm.length(step) for step in steps])
    steps *= (radius / np.maximum(lengths, 1e-30))[:, None]
    points = np.clip(center + steps, ball.low, ball.high)
    size = np.abs(rows) @ np.maximum(np.abs(low), np.abs(high))
    assert np.all(
        found[:, None] <= rows @ points.T + (0 if not norm.boxed else 1e-12) * size[:, None]
    )
    for row, value, room in zip(rows, found, size, strict=True):
        assert value == pytest.approx(region.minimum(row).value, abs=1e-5 * room + 1e-9)
    # A part of the box that the centre may be outside of.
    inner = ball.within(np.minimum(center + 0.1 * radius, ball.high), ball.high)
    inside = points[np.all(points >= inner.low, axis=1)]
    if len(inside):
        assert np.all(inner.minimum(rows)[:, None] <= rows @ inside.T + 1e-9 * size[:, None])


THREATS: dict[str, tuple[ThreatModel, ...]] = {
    "scale": (Scaled(Numbers(np.array([0.5, 2.0, 0.0]))),),
    "normalise": (Normalise(Numbers("0.25"), Numbers(np.array([0.5, 2.0, 1.0]))),),
    "normalised weights": (Normalise(Numbers("0.5"), Numbers("0.25")), Scaled(Numbers("0.5+1+2"))),
    "features": (Features((0, 2)),),
    "uniform": (Uniform(),),
    "brightness": (Normalise(Numbers("0.5"), Numbers("0.5")), Brightness()),
    "two directions": (Contrast(), Uniform()),
    "weighted subspace": (
        Scaled(Numbers("1+0.5+1")),
        Subspace(Numbers(np.array([[1.0, 0.0, 1.0], [0.3, -1.0, 0.2]]))),
    ),
}  # fmt: skip
QUESTIONS: dict[str, dict[str, Any]] = {
    "l2": {"norm": "l2"},
    "l1": {"norm": "l1"},
    "classes": {"target": (0, 1, 2)},
    "2 best": {"top_k": 2},
    "3 best": {"top_k": 3, "norm": "l2"},
    **{name: {"threat": Threat(models)} for name, models in THREATS.items()},
    **{f"{name} in l2": {"threat": Threat(THREATS[name]), "norm": "l2"} for name in (
        "scale", "normalised weights", "two directions")},
    "features in l1, 2 best": {"threat": Threat(THREATS["features"]), "norm": "l1", "top_k": 2},
}  # fmt: skip


@cache
def proven(name: str, seed: int = 1) -> tuple[Model, ProofFile, dict[str, Any]]:
    """The model, the certificate of two anchors and the document of a question."""
    rng = np.random.default_rng(seed)
    folder = Path(mkdtemp())
    net = Perceptron.random(rng, [3, 5, 4, 4])
    onnx.save(net.model(), folder / "model.onnx")
    chosen = Settings(metrics=("bnd",), certificate=True, **QUESTIONS[name])
    network = chosen.prepared(gp.load(folder / "model.onnx"))
    x = rng.uniform(0.1, 0.9, (2, 3)).astype(np.float32)
    labels = run_original(network, x).argmax(axis=1).tolist()
    job = Job(
        network, [gp.Anchor(one, y, i) for i, (one, y) in enumerate(zip(x, labels, strict=True))]
    )
    model = checkable(network)
    outcome = evaluate([job], chosen)
    (document,) = outcome.documents
    return model, read(BytesIO(write(proof_file(model, job, outcome, chosen)))), document


@pytest.mark.parametrize("name", QUESTIONS)
def test_distances_of_every_question_are_proven(name: str) -> None:
    model, file, document = proven(name)
    found = verify(file, model)
    records = [r for r in document["anchors"] if r["status"] == "ok"]
    assert len(found) == len(records) > 0
    for one, record in zip(found, records, strict=True):
        bound = record["d_bnd"]
        assert (one.lower, one.upper) == (bound["lower"], bound["upper"])
        assert bound["status"] in ("exact", "robust")
    if "norm" in QUESTIONS[name]:
        assert f"in {QUESTIONS[name]['norm']}" in str(found[0])


def _point(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Proof], Proof]:
    return lambda p: replace(p, point=None if p.point is None else change(p.point.copy()))


def _front(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[Proof], Proof]:
    def changed(proof: Proof) -> Proof:
        assert proof.front is not None
        values = {k: change(getattr(proof.front, k).copy()) for k, change in changes.items()}
        return replace(proof, front=replace(proof.front, **values))

    return changed


def _larger(proof: Proof) -> Proof:
    return replace(proof, lower=proof.lower * (1 + 1e-6))


BROKEN: list[tuple[str, Callable[[Proof], Proof]]] = [
    # (No three classes win against these labels anywhere.)
    *((name, _larger) for name in QUESTIONS if name != "3 best"),
    ("l2", lambda p: replace(p, norm=None)),
    ("l2", lambda p: replace(p, norm="l1")),
    ("l2", lambda p: replace(p, norm="l3")),
    ("l1", lambda p: replace(p, norm="l2")),
    ("scale in l2", lambda p: replace(p, norm=None)),
    ("scale", lambda p: replace(p, norm="l2")),
    ("scale", lambda p: replace(p, front=None)),
    ("scale", _front(weights=lambda w: w * (1 + 1e-6))),
    ("scale", _front(weights=lambda w: -w)),
    ("scale", _front(weights=lambda w: w[:2])),
    ("scale", _front(weights=lambda w: np.maximum(w, 0.1))),
    ("scale", _point(lambda x: x + np.float32(1e-3))),
    ("scale", lambda p: replace(p, fixed=np.array([0, 0, 1], np.int8))),
    ("normalise", lambda p: replace(p, front=None)),
    ("normalise", lambda p: replace(p, front=Prefix())),
    ("normalise", _front(std=lambda s: s / (1 + 1e-6))),
    ("normalise", _front(mean=lambda m: m + 1e-6)),
    ("normalise", _front(std=lambda s: 0.0 * s)),
    ("normalise", lambda p: replace(p, front=replace(p.front, std=None) if p.front else None)),
    ("features", lambda p: replace(p, fixed=None)),
    ("uniform", _front(steps=lambda b: b * (1 + 1e-6))),
    ("uniform", _front(steps=lambda b: b[:, :2])),
    ("uniform", _front(low=lambda e: 0.0 * e, high=lambda e: 0.0 * e)),
    ("uniform", _front(low=lambda e: e[:0])),
    ("uniform", _point(lambda z: 1.001 * z)),
    ("uniform", _front(image=lambda x: x + np.float32(1e-3))),
    ("uniform", lambda p: replace(p, front=replace(p.front, image=None) if p.front else None)),
    ("classes", lambda p: replace(p, counting=np.array([3, 9], np.int32))),
    ("classes", lambda p: replace(p, counting=np.array([], np.int32))),
    ("2 best", lambda p: replace(p, top_k=None)),
    ("2 best", lambda p: replace(p, top_k=1)),
    ("2 best", lambda p: replace(p, top_k=3)),
    ("2 best", lambda p: replace(p, top_k=4)),
    ("2 best", lambda p: replace(p, counting=np.array([0], np.int32))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change"), BROKEN)
def test_a_proof_about_another_question_is_refused(
    name: str, change: Callable[[Proof], Proof]
) -> None:
    model, file, _ = proven(name)
    tried = [p for p in file.proofs if p.upper is not None and p.scopes and p.scopes[0].lower.size]
    assert tried
    for proof in tried[:1]:
        with pytest.raises(Refused):
            verify(replace(file, proofs=(change(proof),)), model)


@settings(max_examples=4)
@given(st.integers(0, 10_000), NAMES)
def test_no_proof_goes_beyond_the_distance(seed: int, name: str) -> None:
    """Whatever the trace says, or none: radii beyond the boundary are never proven."""
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [2, 4, 3])
    x = rng.uniform(0.1, 0.9, 2).astype(np.float32)
    label = int(np.argmax(net.logits(x.astype(float))))
    truth = brute_force_distance(net, x.astype(float), label, 0.0, 1.0, region_norm(name))
    model = parse_model(net.model().SerializeToString())
    for share, holds in ((0.999, True), (1.001, False)):
        radius = share * min(truth, 2.0)
        question = BallQuery(model, x, label, radius, 0.0, 1.0, norm=name)
        if not holds and np.isfinite(truth):
            with pytest.raises(UnprovenError):
                prove_ball(question)
            continue
        scopes, margins = prove_ball(question)
        proof = replace(question.proof, lower=radius, scopes=scopes, margins=margins)
        verify(ProofFile(model.sha256, 0.0, 1.0, (proof,)), model)


def test_check_says_what_is_proven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = str(tmp_path / "proof.gpc")
    model, images = str(MODELS / "mnist-tiny.onnx"), str(MODELS / "mnist-test-100.npz")
    code = main([
        "distance", model, "--anchors", images, "--index", "2,8", "--quiet", "--threat",
        "scale{by=0.5}", "--targets", "3,8", "--certificate", proof,
    ])  # fmt: skip
    assert code == 0
    assert main(["check", proof, model]) == 0
    said = capsys.readouterr().out
    assert "in units per element, classes 3, 8 alone" in said
    assert "verified: 2 anchors" in said
