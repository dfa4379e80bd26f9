"""Linear programs of nodes against samples and the ascent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.cuts import with_planes
from graphprune.backends.relaxation.kernels import AscentSettings, Parameters
from graphprune.backends.relaxation.node_lp import relax, solve_node
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball
from graphprune.runtime.resources import Resources
from tests.backends.relaxation.subproblems import (
    basis_at,
    first_margin,
    seeds,
    subproblems,
    value_at,
)
from tests.conftest import Floor
from tests.oracles import Perceptron


@given(subproblems(), seeds, st.booleans())
def test_a_cases_linear_program_proves_no_less_than_the_ascent(
    floor: Floor, case: Subproblem, seed: int, planes: bool
) -> None:
    if planes:
        case, _ = with_planes(case.optimised(stop=np.inf), Resources(), 3)
    m = case.neurons
    rng = np.random.default_rng(seed)
    inside = basis_at(case, rng.uniform(case.ball.lower, case.ball.upper))
    phase = np.where(inside[case.inputs :] > 0, 1, -1)
    phases = np.where(rng.uniform(size=m) < 0.5, phase, 0).astype(np.int8)
    _, slopes, weights = case.parameters
    parameters = Parameters(phases, np.where(phases == 0, slopes, 0.0), weights.copy())
    ascent = kernels.optimise(
        case.relaxation, case.specification, 0.0, parameters, AscentSettings(100, 0.1, np.inf),
        kernels.workspace_for(case.rows),
    ).value  # fmt: skip
    start = case.parameters._replace(phases=phases)
    proof = relax(case.relaxation, case.specification, start)
    assert proof is not None
    assert proof.bound >= ascent - 1e-5 * (1.0 + abs(ascent))
    for x in samples_in(case.ball, 60, seed):
        v = basis_at(case, x)
        margin = value_at(case, v)
        same = np.where(v[case.inputs :] > 0, 1, -1)
        if np.all((phases == 0) | (phases == same)):
            floor.checked(1, least=100)
            assert margin >= proof.bound
            assert margin > 0 or case.ball.norm.length(x - case.ball.center) >= proof.radius - 1e-12


@settings(max_examples=20)
@given(subproblems([2, 4, 2], [3, 4, 3, 2]), seeds)
def test_a_node_without_splits_says_what_its_samples_say(
    floor: Floor, case: Subproblem, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    v = basis_at(case, rng.uniform(case.ball.lower, case.ball.upper))
    hidden = v[case.inputs :]
    phases = np.where(hidden > 0, 1, -1).astype(np.int8)
    answer = solve_node(case, phases)
    assert answer.neuron is None
    for x in samples_in(case.ball, 200, seed):
        w = basis_at(case, x)
        same = np.all((w[case.inputs :] > 0) == (phases > 0))
        if same and value_at(case, w) <= 0:
            floor.checked(1, least=100)
            assert not answer.closed
            assert case.ball.norm.length(x - case.ball.center) >= answer.radius - 1e-12


def test_a_boundary_where_the_margin_just_stops_changing() -> None:
    """Classes equal wherever two neurons are off: the margin never falls below 0."""
    net = Perceptron(
        [np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])],
        [np.array([-1.0, -0.6]), np.zeros(2)],
    )
    network = gp.from_proto(net.model())
    anchor = gp.Anchor(np.array([0.8, 0.7], np.float32), 0)
    ball = Ball(anchor.x.astype(np.float64), 0.4)
    case = first_margin(network, ball)
    answer = solve_node(case, np.full(2, kernels.INACTIVE, np.int8))
    assert not answer.closed
    assert answer.radius <= 0.25 + 1e-7
    assert answer.radius == pytest.approx(0.25, abs=1e-6)
    assert answer.point is not None
    np.testing.assert_allclose(np.abs(answer.point - ball.center).max(), 0.25, atol=1e-6)
    found = gp.distance(network, anchor, solver="search")
    assert found.status == "exact"
    assert found.lower <= 0.25 + 1e-7
    assert found.lower == pytest.approx(0.25, abs=1e-6)
    assert found.upper == pytest.approx(0.25, abs=1e-6)
