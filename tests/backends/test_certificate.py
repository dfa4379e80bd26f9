"""Multipliers from ascent and from linear programs; trees that close."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.backends.certificate import BallQuery, UnboundedError, UnprovenError, prove_ball
from graphprune.backends.certificate.systems import SystemRelaxation
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import copied
from graphprune.backends.relaxation.kernels import AscentSettings, Parameters
from graphprune.backends.relaxation.node_lp import relax
from graphprune.check import read_model
from graphprune.check.bound import System, lower_bounds
from graphprune.check.forms import AffineForm, csr, intervals
from graphprune.check.points import Points
from tests.check.test_bound import random_system
from tests.conftest import MODELS, Floor


def _case(seed: int, real: bool) -> tuple[System, AffineForm, np.ndarray]:
    """A system, a goal and phases: any (most hold no point), or those of a point of the network."""
    rng = np.random.default_rng(seed)
    system = random_system(rng, 3, 5, 0)
    goal = AffineForm(csr(rng.normal(size=(1, 8))), rng.normal(size=1), np.zeros(1))
    states = rng.integers(-1, 2, 5)
    if real:
        rows = system.form.rows.toarray()
        rows = rows / (1.0 + np.abs(rows).sum(axis=1, keepdims=True))
        system = replace(system, form=replace(system.form, rows=csr(rows)))
        z = _values(system, seed)[1]
        lower, upper = np.minimum(z.min(axis=0), 0.0) - 0.1, np.maximum(z.max(axis=0), 0.0) + 0.1
        high = np.concatenate([system.high[:3], upper])
        system = replace(system, lower=lower, upper=upper, high=high)
        states = np.where(rng.random(5) < 0.5, np.sign(z[0]), 0)
    return _enclosed(system), goal, states[None].astype(np.int8)


def _values(system: System, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points v = (x, h) of the network (N, basis), and their pre-activations."""
    rng = np.random.default_rng(seed)
    n, rows = system.inputs, system.form.rows.toarray()
    v, z = np.zeros((4000, n + system.width)), np.zeros((4000, system.width))
    v[:, :n] = rng.uniform(system.low[:n], system.high[:n], (4000, n))
    for j in range(system.width):
        z[:, j] = v @ rows[j] + system.form.offset[j]
        v[:, n + j] = np.maximum(z[:, j], 0)
    return v, z


def _enclosed(system: System) -> System:
    """The system with bounds that its box implies, and a little room."""
    n = system.inputs
    lower, upper, high = np.empty(system.width), np.empty(system.width), system.high.copy()
    for j in range(system.width):
        ends = intervals(system.form.take(np.array([j])), system.low, high)
        lower[j], upper[j] = min(1.1 * ends[0][0], -0.1), max(1.1 * ends[1][0], 0.1)
        high[n + j] = upper[j]
    return system.within(Points.box(system.low[:n], system.high[:n]), lower, upper)


def _points(system: System, state: np.ndarray, seed: int) -> np.ndarray:
    """Points v = (x, h) of the network that lie in the case, (N, basis)."""
    v, z = _values(system, seed)
    inside = (z >= system.lower) & (z <= system.upper) & (z * state >= 0)
    return v[np.all(inside, axis=1)]


def _parameters(relaxation: SystemRelaxation, states: np.ndarray) -> Parameters:
    phases = np.where(states != 0, states, relaxation.start.phases)
    return copied(relaxation.start._replace(phases=phases))


def _proven(relaxation: SystemRelaxation, goal: AffineForm, parameters: Parameters) -> float:
    """The checker's bound at the multipliers of a case's parameters."""
    m, pi = relaxation.multipliers(goal, [parameters])
    phases = parameters.phases[None]
    return float(lower_bounds(relaxation.system, goal, phases, m, pi)[0])


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_programs_are_no_worse_than_ascent_and_no_better_than_the_truth(
    floor: Floor, seed: int, real: bool
) -> None:
    system, goal, states = _case(seed, real)
    relaxation = SystemRelaxation(system)
    (specification,) = relaxation.specifications(goal)
    parameters = _parameters(relaxation, states[0])
    found = relax(relaxation.relaxation, specification, parameters)
    assert found is not None
    best = _proven(relaxation, goal, found.parameters)
    # An end: multipliers of cases without points grow as far as they are asked to.
    ascent = AscentSettings(20, 0.3, abs(best) + 1.0)
    value = kernels.optimise(
        relaxation.relaxation, specification, 0.0, parameters, ascent, relaxation.workspace
    ).value
    ascended = _proven(relaxation, goal, parameters)
    # What the ascent thinks its bound is, is what the checker says.
    size = 1.0 + float(np.abs(relaxation.multipliers(goal, [parameters])[0]).max())
    assert abs(ascended - value) <= 1e-4 * size
    points = _points(system, states[0], seed)
    floor.checked(len(points), least=1000)
    if len(points):
        assert ascended <= best + 1e-5 * (1 + abs(best))
        truth = points @ goal.rows.toarray()[0] + goal.offset[0]
        assert best <= truth.min() + 1e-7


def test_a_case_without_points_has_a_positive_bound() -> None:
    # z = x + 2 on [0, 1] cannot be negative.
    low, high = np.array([0.0, 0.0]), np.array([1.0, 3.0])
    form = AffineForm(csr(np.array([[1.0, 0.0]])), np.array([2.0]), np.zeros(1))
    system = System(1, low, high, form, np.array([-1.0]), np.array([3.0]))
    goal = AffineForm(csr(np.array([[1.0, 1.0]])), np.array([-5.0]), np.zeros(1))
    relaxation = SystemRelaxation(system)
    # As far as it is asked to: until this is positive.
    (specification,) = relaxation.specifications(replace(goal, offset=goal.offset - 50.0))
    parameters = _parameters(relaxation, np.array([-1], np.int8))
    found = relax(relaxation.relaxation, specification, parameters)
    assert found is not None
    assert _proven(relaxation, goal, found.parameters) > 50.0


def test_time_limits_and_false_claims_end_the_proof() -> None:
    model = read_model(MODELS / "mnist-a.onnx")
    images = np.load(MODELS / "mnist-test-100.npz")
    x = (images["x"][0] / np.float32(255)).astype(np.float32).reshape(model.shape)
    label = int(images["y"][0])
    with pytest.raises(UnboundedError, match="time"):
        prove_ball(BallQuery(model, x, label, 0.04, 0.0, 1.0), deadline=0.0)
    tiny = read_model(MODELS / "mnist-tiny.onnx")
    with pytest.raises(UnprovenError):
        prove_ball(BallQuery(tiny, x, label, 0.0784, 0.0, 1.0))
