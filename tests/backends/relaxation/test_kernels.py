"""Every bound of the kernels against samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import (
    box_of,
    copied,
    neuron_row,
    no_planes,
    output_row,
    rows_of,
)
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.relaxation.kernels import AscentSettings
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.backends.relaxation.tighten import (
    ConstrainedSettings,
    clipped,
    constrained,
    with_input_rows,
)
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources
from tests.backends.relaxation.subproblems import (
    basis_at,
    seeds,
    some_parameters,
    subproblems,
    value_at,
)
from tests.conftest import Floor


@given(subproblems(radii=st.floats(0.05, 0.5)), seeds)
def test_bounds_hold_for_any_parameters_splits_and_samples(
    floor: Floor, case: Subproblem, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    m = case.neurons
    parameters = some_parameters(case, rng)
    phases = parameters.phases
    workspace = kernels.workspace_for(case.rows)
    bound, constant = kernels.linear_bound(
        case.relaxation, case.specification, 0.0, parameters, workspace
    )
    a, z = workspace.coefficients, case.rows
    for x in samples_in(case.ball, 40, seed):
        point = basis_at(case, x)
        hidden = point[case.inputs :]
        pre = np.array([
            z.offset[j] + z.values[z.indptr[j] : z.indptr[j + 1]]
            @ point[z.indices[z.indptr[j] : z.indptr[j + 1]]]
            for j in range(m)
        ])  # fmt: skip
        assert np.allclose(hidden, np.maximum(pre, 0))
        if np.all((phases == 0) | (phases * pre >= 0)):
            floor.checked(1, least=100)
            margin = value_at(case, point)
            assert margin >= bound
            assert margin >= a[: len(x.reshape(-1))] @ x.reshape(-1) + constant - 1e-12


@given(subproblems(), seeds)
def test_a_childs_bound_by_the_change_equals_a_pass_of_its_own(
    floor: Floor, case: Subproblem, seed: int
) -> None:
    if not case.neurons:
        return
    parameters = some_parameters(case, np.random.default_rng(seed))
    workspace, other = kernels.workspace_for(case.rows), kernels.workspace_for(case.rows)
    net = (case.relaxation, case.specification, 0.0)
    bound, _ = kernels.linear_bound(*net, parameters, workspace)
    delta = np.zeros(len(workspace.coefficients))
    standing = kernels.standing_of(case.relaxation, workspace)
    for j in np.flatnonzero(parameters.phases == 0):
        for phase in (1, -1):
            change = kernels.child_change(
                case.relaxation, parameters, workspace, int(j), phase, delta, standing
            )
            assert not np.any(delta)
            child = copied(parameters)
            child.phases[j], child.slopes[j] = phase, 0.0
            direct, _ = kernels.linear_bound(*net, child, other)
            floor.checked(1, least=100)
            # In a ball the multiplier is looked for less closely: below the least value, if at all.
            short = 1e-9 if case.box.ball is None else 1e-5
            assert direct - short <= bound + change <= direct + 1e-9


@given(subproblems(radii=st.floats(0.05, 0.5)), seeds)
def test_strong_branching_takes_what_bounding_all_children_would(
    floor: Floor, case: Subproblem, seed: int
) -> None:
    """Children that are not bounded could not have been the best ones."""
    parameters = some_parameters(case, np.random.default_rng(seed))
    workspace = kernels.workspace_for(case.rows)
    found = kernels.optimise(
        case.relaxation, case.specification, 0.0, parameters, AscentSettings(3, 0.3, 0.0), workspace
    )
    delta = np.zeros(len(workspace.coefficients))
    standing = kernels.standing_of(case.relaxation, workspace)

    def score(neuron: int) -> float:
        changes = [
            kernels.child_change(
                case.relaxation, parameters, workspace, neuron, phase, delta, standing
            )
            for phase in (1, -1)
        ]
        return sum(min(found.value + change, 0.0) for change in changes)

    split = kernels.strong_branching(
        case.relaxation, parameters, workspace, found.value, 0.0, case.neurons
    )
    every = kernels.candidates(case.rows, parameters.phases, workspace, case.neurons)
    assert (split.neuron < 0) == (len(every) == 0)
    if len(every) and case.box.ball is None:
        floor.checked(1, least=10)
        assert score(split.neuron) >= max(score(int(j)) for j in every) - 1e-9


@given(subproblems(radii=st.floats(0.05, 0.4)), seeds, st.sampled_from([2, 128]))
def test_constrained_bounds_hold_where_the_margin_is_negative(
    floor: Floor, case: Subproblem, seed: int, neurons: int
) -> None:
    case = case.optimised()
    settings = ConstrainedSettings(neurons=neurons)
    tightened = constrained(case, case.parameters, Resources(), settings=settings)
    if tightened is not None:
        changed = (tightened.rows.lower > case.rows.lower) | (
            tightened.rows.upper < case.rows.upper
        )
        assert np.count_nonzero(changed) <= neurons
    for x in samples_in(case.ball, 60, seed):
        v = basis_at(case, x)
        if value_at(case, v) <= 0:
            floor.checked(1, least=100)
            assert tightened is not None
            assert np.all(x.reshape(-1) >= tightened.box.lower)
            assert np.all(x.reshape(-1) <= tightened.box.upper)
            for j in range(case.neurons):
                goal = neuron_row(case.rows, j, 1.0)
                z = goal.row @ v + goal.offset
                assert tightened.rows.lower[j] - 1e-9 <= z <= tightened.rows.upper[j] + 1e-9


@given(subproblems(radii=st.floats(0.05, 0.4)), seeds, st.sampled_from([2, 128]))
def test_clipped_bounds_hold_where_the_margin_is_negative_and_the_phases_are_these(
    floor: Floor, case: Subproblem, seed: int, neurons: int
) -> None:
    rng = np.random.default_rng(seed)
    case = with_input_rows(case.optimised(), neurons)
    points = [basis_at(case, x) for x in samples_in(case.ball, 60, seed)]
    adversarial = [v for v in points if value_at(case, v) <= 0]
    if not adversarial:
        return
    # Some neurons are split as they are at one of these points.
    split = rng.random(case.neurons) < 0.3
    active = adversarial[0][case.inputs :] > 0
    parameters = copied(case.parameters)
    parameters.phases[split] = np.where(active, 1, -1)[split]
    parameters.slopes[split] = rng.exponential(1, case.neurons)[split]
    tightened = clipped(case, parameters)
    for v in adversarial:
        if np.any(split & ((v[case.inputs :] > 0) != active)):
            continue
        floor.checked(1, least=100)
        assert tightened is not None
        x = v[: case.inputs]
        assert np.all((x >= tightened.box.lower) & (x <= tightened.box.upper))
        for j in range(case.neurons):
            goal = neuron_row(case.rows, j, 1.0)
            z = goal.row @ v + goal.offset
            assert tightened.rows.lower[j] - 1e-9 <= z <= tightened.rows.upper[j] + 1e-9


def test_clipping_tightens_what_the_margin_all_but_excludes(
    mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    """On a ball where the margin is hardly negative."""
    ball = images[0].ball(0.031, gp.Domain())
    bounds = bounds_of(pre_activation_bounds(mnist_a, Boxes.of(ball)))
    region = CondensedRegion.of(mnist_a, ball, bounds)
    targets = [
        Subproblem.of(region, row).optimised() for row in margin_rows(mnist_a, images[0].label)
    ]
    case = max((t for t in targets if t.bound <= 0), key=lambda t: t.bound)
    tightened = clipped(with_input_rows(case, 1000), case.parameters)
    assert tightened is not None
    assert tightened.width < 0.9 * case.width


@given(subproblems(), seeds, st.integers(0, 30))
def test_ascent_never_ends_below_its_start(case: Subproblem, seed: int, steps: int) -> None:
    parameters = some_parameters(case, np.random.default_rng(seed))
    parameters.slopes[parameters.phases != 0] = 0.0
    workspace = kernels.workspace_for(case.rows)
    net = (case.relaxation, case.specification, 0.0, parameters)
    start, _ = kernels.linear_bound(*net, workspace)
    end = kernels.optimise(*net, AscentSettings(steps, 0.3, start + 1.0), workspace)
    assert end.value >= start
    assert np.all(parameters.slopes >= 0.0)
    assert np.all(parameters.slopes[parameters.phases == 0] <= 1.0)


def test_condensed_goals_speak_of_the_network(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    ball = Ball(images[0].x.astype(float), 0.1)
    layers = pre_activation_bounds(tiny, Boxes.of(ball))
    bounds = bounds_of(layers)
    condensed = condense(tiny, bounds, ball)
    rows, box = rows_of(condensed), box_of(ball)
    assert len(no_planes(rows).has) == condensed.unstable
    goal = output_row(condensed, margin_rows(tiny, images[0].label)[0])
    v = np.concatenate([images[0].x.reshape(-1), np.zeros(condensed.unstable)]).astype(float)
    kernels.evaluate_network(rows, v)
    logits = forward64(tiny, images[0].x[None])[0][0]
    expected = margin_rows(tiny, images[0].label)[0] @ logits
    assert goal.row @ v + goal.offset == pytest.approx(expected, abs=1e-9)
    assert np.all(box.lower < box.upper)


def test_the_region_holds_the_ball_without_subnormal_numbers() -> None:
    """Products with them take many times as long on some processors: images are full of zeros."""
    x = np.array([0.0, 0.3, 1.0, 0.0])
    ball = Ball(x, 0.3, gp.Domain(0.0, 1.0))
    box = box_of(ball)
    assert np.all(box.lower < ball.lower)
    assert np.all(box.upper > ball.upper)
    for side in (box.lower, box.upper, box.error):
        assert np.all(np.abs(side) > np.finfo(np.float64).tiny)
    assert np.max(np.abs(box.lower - ball.lower)) < 1e-15
