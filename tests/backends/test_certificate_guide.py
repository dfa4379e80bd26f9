"""Certificates from a search's trace: planes and trees carried over, and nothing taken on trust."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.certificate import BallQuery, prove, prove_ball
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.search.radius_step import prove_radius
from graphprune.backends.trace import ClosedCase, TargetTrace, Trace
from graphprune.check import Proof, ProofFile, read_model, verify
from graphprune.check.steps import Model
from graphprune.region import Domain
from graphprune.runtime.resources import Resources
from tests.conftest import MODELS

# Just below the distances of these images, on mnist-tiny.
RADII = {0: 0.0783, 2: 0.0332, 4: 0.0793}


@cache
def _traced(index: int) -> tuple[Model, gp.Anchor, Trace]:
    """A trace of the ball, made with every means the search has."""
    network = gp.load(MODELS / "mnist-tiny.onnx")
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[index]
    interval = DistanceInterval(DistanceProblem(network, anchor, Domain(), 1.0), record=True)
    assert prove_radius(interval, Resources(), RADII[index], 2).complete
    assert interval.trace is not None
    return read_model(MODELS / "mnist-tiny.onnx"), anchor, interval.trace


def _proof(index: int, trace: Trace | None) -> Proof:
    model, anchor, _ = _traced(index)
    radius = RADII[index] * (1 - 1e-6)
    scopes, margins = prove_ball(
        BallQuery(model, anchor.x, anchor.label, radius, 0.0, 1.0), trace
    )  # fmt: skip
    proof = Proof(index, anchor.label, anchor.x, radius, None, -1, None, scopes, margins)
    (result,) = verify(ProofFile(model.sha256, 0.0, 1.0, (proof,)), model)
    assert result.lower == radius
    return proof


@pytest.mark.parametrize("index", RADII)
def test_traces_become_certificates(index: int) -> None:
    _, _, trace = _traced(index)
    assert trace.targets
    proof = _proof(index, trace)
    excluded = {int(t) for margins in proof.margins for t in margins.claims.goals}
    excluded |= {scope.target for scope in proof.scopes}  # some by bounds that cross
    assert excluded >= set(trace.targets)


def test_planes_of_a_trace_are_used() -> None:
    proofs = [_proof(index, _traced(index)[2]) for index in RADII]
    assert any(o.planes is not None for i in RADII for o in _traced(i)[2].targets.values())
    scopes = [s for proof in proofs for s in proof.scopes if s.plane_neurons is not None]
    assert scopes
    used = [m.claims.planes for proof in proofs for m in proof.margins]
    assert any(pi is not None and np.any(pi > 0) for pi in used)


@pytest.mark.parametrize("index", RADII)
def test_large_trees_follow_bounds_of_the_heaviest_neurons(
    index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 3
    monkeypatch.setattr(prove, "WIDE", 0)
    monkeypatch.setattr(prove, "SAMPLE", 1)
    monkeypatch.setattr(prove, "CLOSED", 2.0)
    monkeypatch.setattr(prove, "ROUNDS_HEAVY", prove.ROUNDS_HEAVY._replace(neurons=most))
    proof = _proof(index, _traced(index)[2])
    claimed = [
        {max(goal, -1 - goal) for goal in claims.goals.tolist()}
        for scope in proof.scopes if scope.target >= 0
        for claims in scope.claims
    ]  # fmt: skip
    assert claimed
    # A round has a scope for every layer.
    assert all(len(neurons) <= most for neurons in claimed)


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1))
def test_wrong_traces_cost_time_and_prove_nothing_false(seed: int) -> None:
    rng = np.random.default_rng(seed)
    _, _, trace = _traced(2)
    _proof(2, Trace({t: _spoiled(o, rng) for t, o in trace.targets.items()}))


def _spoiled(outline: TargetTrace, rng: np.random.Generator) -> TargetTrace:
    """Cases missing, parameters exchanged or missing, planes of something else."""
    cases = []
    for case in outline.cases:
        if rng.random() < 0.3:
            continue
        slopes = rng.uniform(0, 3, len(outline.neurons)).astype(np.float32)
        kept = case.slopes if rng.random() < 0.5 else slopes
        cases.append(ClosedCase(case.path, None if rng.random() < 0.2 else kept, case.cut_weights))
    planes = outline.planes
    if planes is not None and rng.random() < 0.5:
        planes = planes.copy()
        planes.data = rng.normal(size=len(planes.data))
    return replace(outline, planes=planes, cases=cases)
