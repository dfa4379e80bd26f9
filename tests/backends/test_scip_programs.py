"""The programs of every form and encoding: equal to the network, to brute force, to the search."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.scip import Scip
from graphprune.backends.scip import backend as scip_backend
from graphprune.backends.scip.formulate import PROGRAM_FORMS, ProgramForm, formulate, layer
from graphprune.backends.scip.program import ENCODINGS, Encoding, MixedIntegerProgram
from graphprune.backends.scip.relaxation import ProgramRelaxation, safe_bound
from graphprune.backends.scip.tighten import root_bound, tighten
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources
from graphprune.testing import anchors, networks
from graphprune.testing.arrays import Floats, points
from tests.conftest import Floor
from tests.drawn import labelled, perceptrons
from tests.oracles import Perceptron, brute_force_distance, region_distance

seeds = st.integers(0, 10_000)
boxes = st.sampled_from([gp.Domain(), gp.Domain(0.1, 0.9), gp.Domain(-1.0, 2.0)])
BUILT: tuple[ProgramForm, ...] = ("condensed", "layered")


def program_of(
    network: gp.Network, ball: Ball, row: np.ndarray, form: ProgramForm, encoding: Encoding
) -> MixedIntegerProgram:
    bounds = pre_activation_bounds(network, Boxes.of(ball))
    if form == "layered":
        return formulate(layer(network, bounds), ball, row, encoding=encoding)
    return formulate(condense(network, bounds_of(bounds), ball), ball, row, encoding=encoding)


@pytest.mark.parametrize("form", BUILT)
@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=12)
@given(network=networks(), seed=seeds)
def test_at_a_fixed_input_a_program_is_the_network(
    form: ProgramForm, encoding: Encoding, network: gp.Network, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ball = Ball(rng.uniform(0.2, 0.8, network.input_shape), 0.15)
    row = np.eye(network.classes)[0] - np.eye(network.classes)[1]
    program = program_of(network, ball, row, form, encoding)
    for x in samples_in(ball, 6, seed):
        distance = float(np.max(np.abs(x - ball.center)))
        v = program.solution(x.reshape(-1), distance)
        values = program.rows @ v
        on = (program.switch < 0) | (v[program.switch] == program.value)
        assert np.all(values[on] >= program.low[on] - 1e-9)
        # The last row is the margin, which may be positive here.
        assert np.all((values <= program.high + 1e-9)[:-1] | ~on[:-1])
        assert np.all(v >= program.lower - 1e-9)
        assert np.all(v <= program.upper + 1e-9)
        margin = row @ forward64(network, x[None])[0][0]
        assert values[-1] - program.high[-1] == pytest.approx(margin, abs=1e-9)


@settings(max_examples=10)
@given(st.data(), boxes)
def test_scip_search_and_regions_agree_on_small_networks_of_any_kind(
    floor: Floor, data: st.DataObject, domain: gp.Domain
) -> None:
    """Convolutions, residual sums, several targets; SCIP in every form and encoding."""
    network = data.draw(networks())
    assume(network.live_neurons <= 12)
    anchor = data.draw(anchors(network))
    expected = region_distance(network, anchor.x, anchor.label, *domain.interval)
    solvers: tuple[str, ...] = ("auto", "scip", "search")
    for solver in solvers:
        answer = gp.distance(network, anchor, domain=domain, solver=solver, time_limit=60)
        if np.isfinite(expected):
            floor.checked(1, least=6)
            assert answer.lower <= expected * (1 + 1e-6) + 1e-7
            assert answer.upper is not None
            assert answer.upper >= expected * (1 - 1e-6) - 1e-7
            assert answer.lower == pytest.approx(expected, rel=3e-6, abs=1e-6)
        else:
            assert (answer.status, answer.upper) == ("robust", None)
    form, encoding = data.draw(st.sampled_from(BUILT)), data.draw(st.sampled_from(ENCODINGS))
    # Without a witness, a certificate or a cutoff near the answer.
    interval = DistanceInterval(DistanceProblem(network, anchor, domain, domain.reach(anchor.x)))
    Scip(encoding=encoding, form=form).run(interval, Resources())
    limit = min(expected, interval.problem.cutoff)
    assert interval.proven <= limit * (1 + 1e-9)
    assert interval.lower == pytest.approx(limit, rel=3e-6, abs=1e-6)


@settings(max_examples=15)
@given(labelled([2, 4, 2], [2, 4, 4, 2], [3, 3, 3, 3], low=0.2, high=0.8), seeds)
def test_what_linear_programs_prove_holds(
    floor: Floor, drawn: tuple[Perceptron, gp.Network, gp.Anchor], seed: int
) -> None:
    net, network, anchor = drawn
    x, label = anchor.x, anchor.label
    ball = Ball(x.astype(float), 0.4)
    condensed = condense(network, bounds_of(pre_activation_bounds(network, Boxes.of(ball))), ball)
    rows = margin_rows(network, label)
    expected = brute_force_distance(net, x.astype(float), label, 0.0, 1.0)
    tightened = [tighten(condensed, ball, row, np.inf) for row in rows]
    assert min(root_bound(condensed, ball, row, np.inf) for row in rows) <= expected
    assert min(t.radius for t in tightened) <= expected
    for point in samples_in(ball, 200, seed):
        for row, found in zip(rows, tightened, strict=True):
            if row @ net.logits(point) > 0:
                continue
            floor.checked(1, least=50)
            basis = point
            for before, after in zip(condensed.layers, found.condensed.layers, strict=True):
                z = before.rows @ basis + before.offset
                assert np.all(z >= after.lower - 1e-12)
                assert np.all(z <= after.upper + 1e-12)
                basis = np.concatenate([basis, np.maximum(z, 0.0)])


@settings(max_examples=20)
@given(perceptrons([3, 5, 4, 2]), points(3), seeds, st.sampled_from(["random", "huge", "nan"]))
def test_any_duals_give_a_bound(net: Perceptron, center: Floats, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    network = gp.from_proto(net.model())
    ball = Ball(center, 0.2)
    program = program_of(network, ball, np.array([1.0, -1.0]), "condensed", "big-m")
    # Without the margin, every point of the ball is a solution.
    high = program.high.copy()
    high[-1] = np.inf
    program = replace(program, high=high)
    duals = rng.normal(size=len(high)) * (1e9 if kind == "huge" else 1.0)
    if kind == "nan":
        duals[rng.integers(len(duals))] = np.nan
    cost = rng.normal(size=len(program.lower))
    bound = safe_bound(program, cost, duals)
    best = ProgramRelaxation(program).minimise(cost, np.inf)
    assert best >= bound - 1e-6 * (1 + abs(bound))
    for x in samples_in(ball, 20, seed):
        v = program.solution(x.reshape(-1), float(np.max(np.abs(x - ball.center))))
        assert cost @ v >= bound
        assert cost @ v >= best


def test_targets_excluded_by_linear_programs_are_certified(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    whole = gp.distance(tiny, images[0], solver="search")
    result = gp.distance(tiny, images[0], solver="scip", radius=0.93 * whole.lower)
    assert (result.status, result.upper) == ("robust", None)


def test_tightening_changes_no_answer(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = gp.distance(tiny, images[0], solver="scip", time_limit=60)
    monkeypatch.setattr(scip_backend, "MANY", 1)
    tight = gp.distance(tiny, images[0], solver="scip", time_limit=60)
    assert tight.status == plain.status == "exact"
    assert tight.lower == pytest.approx(plain.lower, rel=5e-5)


def test_the_options_are_those_that_are_tested() -> None:
    assert set(PROGRAM_FORMS) == {*BUILT, "auto"}
