"""True distances are certified, anything beyond them never; against brute force."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphprune.backends.certificate import UnprovenError
from graphprune.check import Proof, ProofFile, Refused, parse_model, verify
from graphprune.check.container import Claims, Margins, Scope
from graphprune.check.verify import cases
from tests.check.helpers import WIDTHS, Case, with_radius
from tests.conftest import Floor
from tests.drawn import labelled
from tests.oracles import Perceptron


@st.composite
def drawn_cases(draw: st.DrawFn) -> Case:
    net, _, anchor = draw(labelled(*WIDTHS))
    return Case.of(net, anchor.x)


@settings(max_examples=16)
@given(drawn_cases(), st.floats(1e-6, 2.0))
def test_the_distance_is_certified_and_nothing_beyond_it(
    floor: Floor, case: Case, excess: float
) -> None:
    radius = min(case.distance, 1.0) * (1 - 1e-5)
    assume(radius > 1e-4)
    floor.checked(case.distance < 1.0, least=2)
    file = case.file(case.proof(radius))
    (result,) = verify(file, case.model)
    assert result.lower == radius
    assert result.claims >= len(case.net.biases[-1]) - 1
    if case.distance < 1.0:
        false = case.distance * (1 + excess) + 1e-6
        with pytest.raises(Refused):
            verify(with_radius(file, false), case.model)
        # Nor can the prover, which knows all of the checker, make one.
        with pytest.raises(UnprovenError):
            case.proof(false)


def test_the_point_is_checked() -> None:
    case = next(c for s in range(99) if 1e-3 < (c := Case.random(s, [2, 4, 2])).distance < 0.5)
    # The closest adversarial point of a fine grid.
    sides = np.linspace(0, 1, 401)
    grid = np.stack(np.meshgrid(sides, sides), -1).reshape(-1, 2).astype(np.float32)
    margins = np.array([np.subtract(*case.net.logits(p.astype(float))) for p in grid])
    adversarial = grid[margins * (1 - 2 * case.label) <= -1e-4]
    distances = np.abs(adversarial.astype(float) - case.x.astype(float)).max(axis=1)
    point, upper = adversarial[distances.argmin()], float(distances.min())
    proof = replace(
        case.proof(case.distance * 0.9), point=point, upper=upper, target=1 - case.label
    )
    (result,) = verify(case.file(proof), case.model)
    assert result.upper == upper
    assert result.target == 1 - case.label
    outside = point.copy()
    outside[0] = 1.5
    for change in (
        {"upper": upper * 0.99},
        {"upper": upper * 1.01},
        {"point": case.x, "upper": 0.0},
        {"point": case.x},
        {"point": outside, "upper": float(np.abs(outside.astype(float) - case.x).max())},
        {"point": point.astype(np.float64)},
        {"point": point[None]},
        {"point": None},
        {"target": case.label},
        {"target": 2},
        {"upper": None},
        {"lower": upper * 1.0001},
    ):
        with pytest.raises(Refused):
            verify(case.file(replace(proof, **change)), case.model)


def _first(file_proof: object) -> Scope:
    scope: Scope = file_proof.scopes[0]  # type: ignore[attr-defined]
    return scope


def test_bounds_tighter_than_proven_and_missing_classes_are_refused() -> None:
    case = next(
        c
        for seed in range(100)
        if 1e-3 < (c := Case.random(seed, [3, 3, 3, 3])).distance < 1.0
        and len(_first(c.proof(c.distance * 0.9)).lower) >= 2
    )
    proof = case.proof(case.distance * 0.9)
    scope = _first(proof)
    wrong_phase = scope.phase.copy()
    wrong_phase[np.flatnonzero(wrong_phase == 0)[0]] = 1
    broken = [
        replace(scope, lower=scope.lower * 0.9),
        replace(scope, upper=scope.upper * 0.9),
        replace(scope, lower=-scope.lower),
        replace(scope, lower=scope.upper + 1.0),
        replace(scope, lower=scope.lower[1:]),
        replace(scope, phase=wrong_phase, lower=scope.lower[1:], upper=scope.upper[1:]),
        replace(scope, phase=scope.phase[1:]),
        replace(scope, claims=scope.claims[1:]),
        replace(scope, target=0),
        replace(scope, parent=0),
    ]
    for other in broken:
        with pytest.raises(Refused, match="scope 0"):
            verify(case.file(replace(proof, scopes=(other, *proof.scopes[1:]))), case.model)
    with pytest.raises(Refused, match="not excluded"):
        verify(case.file(replace(proof, margins=())), case.model)


@given(st.lists(st.integers(-2, 3), max_size=12), st.integers(0, 3), st.integers(0, 8))
def test_accepted_trees_cover_every_case_once(tree: list[int], count: int, leaves: int) -> None:
    width = 3
    try:
        states, owner = cases(np.array(tree, np.int32), count, width, leaves)
    except Refused:
        return
    for goal in range(count):
        mine = states[owner == goal]
        for pattern in np.ndindex(*(2,) * width):
            signs = np.array(pattern) * 2 - 1
            assert np.sum(np.all((mine == 0) | (mine == signs), axis=1)) == 1


def test_planes_are_used_and_checked() -> None:
    """A plane through three corners of a neuron's box, tighter than its chord there."""
    case = next(
        c
        for seed in range(200)
        if 1e-3 < (c := Case.random(seed, [2, 4, 2])).distance < 1.0
        and np.any(_first(c.proof(c.distance * 0.9)).phase == 0)
    )
    proof = case.proof(case.distance * 0.9)
    scope = _first(proof)
    neuron = int(np.flatnonzero(scope.phase == 0)[0])
    w, b = case.net.weights[0][neuron], case.net.biases[0][neuron]
    low = np.maximum(case.x.astype(float) - proof.lower, 0)
    high = np.minimum(case.x.astype(float) + proof.lower, 1)
    # The chord itself is a plane: s (w . x + b - l).
    top = np.maximum(w * low, w * high).sum() + b
    bottom = np.minimum(w * low, w * high).sum() + b
    s = top / (top - bottom)
    parts = {
        "plane_neurons": np.array([0], np.int32),
        "plane_starts": np.array([0, 2], np.int32),
        "plane_columns": np.array([0, 1], np.int32),
        "plane_values": (s * w).astype(np.float32),
        "plane_offsets": np.array([s * (b - bottom) + 1e-6]),
        "plane_below": np.array([s]),
        "plane_above": np.array([1 - s]),
    }
    good = replace(scope, **parts)
    verify(case.file(replace(proof, scopes=(good, *proof.scopes[1:]))), case.model)
    for change in (
        {"plane_offsets": np.array([s * (b - bottom) - 1e-6])},
        {"plane_values": (0.9 * s * w).astype(np.float32)},
        {"plane_values": (s * w).astype(np.float32)[None]},
        {"plane_columns": np.array([0, 9], np.int32)},
        {"plane_starts": np.array([0, 3], np.int32)},
        {"plane_neurons": np.array([7], np.int32)},
        {"plane_below": np.array([1.0, s])},
        {"plane_above": None},
        {"plane_offsets": None},
    ):
        wrong = replace(scope, **parts | change)
        with pytest.raises(Refused, match="plane"):
            verify(case.file(replace(proof, scopes=(wrong, *proof.scopes[1:]))), case.model)


@pytest.mark.parametrize("with_plane", [False, True])
def test_a_variable_neuron_that_is_off_pays_for_no_rounding(with_plane: bool) -> None:
    """Its upper bound is negative: the size of its output is 0, no gain to be had."""
    far, big = 1e8, 1e8
    net = Perceptron(
        [np.array([[1.0], [1.0]]), np.array([[big, 1.0], [0.0, 0.0]])],
        [np.array([-far, 0.0]), np.array([0.0, 0.5])],
    )
    model = parse_model(net.model().SerializeToString())
    nothing = Claims(np.zeros(0, np.int32), np.zeros((0, 0), np.float32))
    scope = Scope(
        -1, -1, np.array([0, 1], np.int8), np.array([-1.1 * far]), np.array([-0.99 * far]),
        (nothing,),
    )  # fmt: skip
    planes: dict[str, Any] = {
        "plane_neurons": np.array([0], np.int32),
        "plane_starts": np.array([0, 0], np.int32),
        "plane_columns": np.zeros(0, np.int32),
        "plane_values": np.zeros(0, np.float32),
        "plane_offsets": np.array([1e-7]),
        "plane_below": np.array([0.0]),
        "plane_above": np.array([0.0]),
    }
    multiplier = np.array([[1e6]], np.float32) if with_plane else None
    claims = Claims(np.array([1], np.int32), np.zeros((1, 1), np.float32), planes=multiplier)
    scope = replace(scope, **planes) if with_plane else scope
    x = np.array([1.0], np.float32)

    def file(radius: float) -> ProofFile:
        proof = Proof(0, 0, x, radius, None, -1, None, (scope,), (Margins(0, claims),))
        return ProofFile(model.sha256, 0.0, 2.0, (proof,))

    # The distance is 0.5.
    with pytest.raises(Refused, match="margin|excluded"):
        verify(file(0.9), model)
    if not with_plane:
        verify(file(0.2), model)
