"""The search against brute force and SCIP; every bound of its kernels against samples."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.choose import Solver
from graphprune.backends.primal import pursue
from graphprune.backends.protocol import Ledger, Limits, Problem
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import (
    margin_goal,
    neuron_goal,
    no_planes,
    region_of,
    rows_of,
)
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.relaxation.cuts import Cuts, add_planes
from graphprune.backends.relaxation.node_lp import relax, solve_leaf
from graphprune.backends.relaxation.specification import Target
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.evaluate.distance import Distance
from graphprune.pipeline.verify import samples_in
from graphprune.progress import Interrupted
from graphprune.region import Ball
from graphprune.testing import anchors, networks
from tests.oracles import Perceptron, brute_force_distance


def target_of(seed: int, widths: list[int], radius: float) -> Target:
    rng = np.random.default_rng(seed)
    network = gp.from_proto(Perceptron.random(rng, widths).model())
    ball = Ball(rng.uniform(0.2, 0.8, network.input_shape), radius)
    layers = pre_activation_bounds(network, Boxes.of(ball))
    bounds = bounds_of(layers)
    return Target(network, margin_rows(network, 0)[0], ball, bounds)


def basis_at(target: Target, x: np.ndarray) -> np.ndarray:
    v = np.concatenate([x.reshape(-1), np.zeros(target.neurons)])
    kernels.evaluate(target.rows, v)
    return v


seeds = st.integers(0, 10_000)
shapes = st.sampled_from([[2, 6, 2], [3, 5, 5, 2], [4, 6, 4, 4, 3]])


@settings(max_examples=12)
@given(seeds, st.sampled_from([[2, 4, 2], [3, 3, 3, 3], [2, 4, 4, 2], [1, 5, 2], [4, 4, 4, 4, 3]]),
       st.sampled_from([(0.0, 1.0), (-np.inf, np.inf)]))  # fmt: skip
def test_search_scip_and_brute_force_agree(
    seed: int, widths: list[int], box: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, widths)
    network = gp.from_proto(net.model())
    x = rng.uniform(0.1, 0.9, widths[0]).astype(np.float32)
    label = int(np.argmax(net.logits(x.astype(float))))
    domain = gp.Domain(*box)
    expected = brute_force_distance(net, x.astype(float), label, *box)
    solvers: tuple[Solver, ...] = ("search", "scip")
    for solver in solvers:
        anchor = gp.Anchor(x, label)
        result = gp.distance(network, anchor, domain=domain, solver=solver, time_limit=60)
        if np.isfinite(expected) and expected < 500:
            assert result.lower <= expected * (1 + 1e-6) + 1e-7
            assert result.lower == pytest.approx(expected, rel=1e-4, abs=1e-6)
            # Where SCIP's optimum only touches the boundary, its point may not be confirmed.
            if solver == "search":
                assert (result.status, result.certified) == ("exact", True)
                assert result.upper == pytest.approx(expected, rel=1e-4)
                assert result.lower == pytest.approx(expected, rel=3e-6, abs=1e-6)
        elif box == (0.0, 1.0):
            assert (result.status, result.upper) == ("robust", None), solver


@given(seeds, shapes, st.floats(0.05, 0.5))
def test_bounds_hold_for_any_parameters_splits_and_samples(
    seed: int, widths: list[int], radius: float
) -> None:
    target = target_of(seed, widths, radius)
    rng = np.random.default_rng(seed)
    m, size = target.neurons, target.condensed.basis
    state = rng.choice([0, 0, 0, 1, -1], m).astype(np.int8)
    theta = np.where(state == 0, rng.uniform(0, 1, m), rng.exponential(1, m))
    a, v = np.empty(size), np.empty(size)
    bound, constant = kernels.bound_once(
        target.rows, target.planes, target.region, target.goal, 0.0, state, theta, np.zeros(m),
        a, v, np.empty(m), np.empty(m),
    )  # fmt: skip
    z = target.rows
    for x in samples_in(target.ball, 40, seed):
        point = basis_at(target, x)
        hidden = point[target.condensed.inputs :]
        pre = np.array([
            z.offset[j] + z.values[z.indptr[j] : z.indptr[j + 1]]
            @ point[z.indices[z.indptr[j] : z.indptr[j + 1]]]
            for j in range(m)
        ])  # fmt: skip
        assert np.allclose(hidden, np.maximum(pre, 0))
        if np.all((state == 0) | (state * pre >= 0)):
            margin = target.goal.row @ point + target.goal.offset
            assert margin >= bound
            assert margin >= a[: len(x.reshape(-1))] @ x.reshape(-1) + constant - 1e-12


@given(seeds, shapes)
def test_a_childs_bound_by_the_change_equals_a_pass_of_its_own(
    seed: int, widths: list[int]
) -> None:
    target = target_of(seed, widths, 0.3)
    m, size = target.neurons, target.condensed.basis
    if not m:
        return
    rng = np.random.default_rng(seed)
    state, mix = rng.choice([0, 0, 0, 1, -1], m).astype(np.int8), np.zeros(m)
    theta = rng.uniform(0, 1, m)
    lam, pi = np.empty(m), np.empty(m)
    a, v = np.empty(size), np.empty(size)
    net = (target.rows, target.planes, target.region)
    bound, _ = kernels.bound_once(*net, target.goal, 0.0, state, theta, mix, a, v, lam, pi)
    for j in np.flatnonzero(state == 0):
        for phase in (1, -1):
            change = kernels.child_change(
                *net, state, theta, mix, a, lam, pi, int(j), phase, np.zeros(size),
                np.zeros(size, np.uint8), np.empty(m, np.int64), np.empty(size, np.int64),
                target.starts,
            )  # fmt: skip
            own, slopes = state.copy(), theta.copy()
            own[j], slopes[j] = phase, 0.0
            b, w = np.empty(size), np.empty(size)
            direct, _ = kernels.bound_once(
                *net, target.goal, 0.0, own, slopes, mix, b, w, np.empty(m), np.empty(m)
            )
            assert bound + change == pytest.approx(direct, abs=1e-9)


@given(seeds, shapes, st.floats(0.05, 0.4))
def test_constrained_bounds_hold_where_the_margin_is_negative(
    seed: int, widths: list[int], radius: float
) -> None:
    target = target_of(seed, widths, radius)
    m = target.neurons
    target.optimise()
    case = target.case()
    case.cut_box(np.zeros(m, np.int8), target.theta, target.mix)
    possible = kernels.tighten(
        case.rows, case.planes, case.region, case.goal, 0.5, 0, m,
        np.zeros(m, np.int8), target.theta, target.mix, 12, 0.3,
    )  # fmt: skip
    for x in samples_in(target.ball, 60, seed):
        v = basis_at(target, x)
        if target.goal.row @ v + target.goal.offset <= 0:
            assert possible
            assert np.all(x.reshape(-1) >= case.region.lower)
            assert np.all(x.reshape(-1) <= case.region.upper)
            for j in range(m):
                goal = neuron_goal(target.rows, j, 1.0)
                z = goal.row @ v + goal.offset
                assert case.rows.lower[j] - 1e-9 <= z <= case.rows.upper[j] + 1e-9


@given(seeds, shapes, st.floats(0.05, 0.5))
def test_planes_from_cuts_lie_above_their_neurons(
    seed: int, widths: list[int], radius: float
) -> None:
    target = target_of(seed, widths, radius)
    before = target.optimise(stop=np.inf)
    add_planes(target, Limits(), 4)
    assert target.bound >= before - 1e-6
    z = target.rows
    for x in samples_in(target.ball, 40, seed):
        v = basis_at(target, x)
        assert target.goal.row @ v + target.goal.offset >= target.bound
        for j in np.flatnonzero(target.planes.has):
            part = slice(z.indptr[j], z.indptr[j + 1])
            plane = target.planes.values[part] @ v[z.indices[part]] + target.planes.offset[j]
            assert v[target.condensed.inputs + j] <= plane + target.planes.error[j]


@given(seeds, st.sampled_from([[3, 8, 8, 2], [4, 9, 6, 6, 3]]))
def test_cuts_that_leave_change_no_optimum(seed: int, widths: list[int]) -> None:
    cuts, limits, values = Cuts(target_of(seed, widths, 0.4)), Limits(), []
    for _ in range(4):
        assert cuts.solve(limits)
        values.append(cuts.highs.getInfo().objective_function_value)
        if not cuts.separate():
            break
        # What is kept, and the rows of the program, are the same cuts.
        kept = [(neuron, floor) for neurons, _, _, floor in cuts.cuts for neuron in neurons]
        owners = [neuron for neuron, _ in kept]
        program = cuts.highs.getLp()
        assert program.num_row_ == 3 * cuts.m + len(owners)
        ceilings = -np.array([floor[neuron] for neuron, floor in kept])
        np.testing.assert_allclose(program.row_upper_[3 * cuts.m :], ceilings, atol=1e-12)
    # The minimum over fewer points, whatever left.
    assert np.all(np.diff(values) >= -1e-6 * (1.0 + np.abs(values[0])))


@given(seeds, shapes, st.booleans())
def test_a_cases_linear_program_proves_no_less_than_the_ascent(
    seed: int, widths: list[int], planes: bool
) -> None:
    target = target_of(seed, widths, 0.3)
    if planes:
        target.optimise(stop=np.inf)
        add_planes(target, Limits(), 3)
    m, size = target.neurons, target.condensed.basis
    rng = np.random.default_rng(seed)
    inside = basis_at(target, rng.uniform(target.ball.lower, target.ball.upper))
    phase = np.where(inside[target.condensed.inputs :] > 0, 1, -1)
    state = np.where(rng.uniform(size=m) < 0.5, phase, 0).astype(np.int8)
    theta, mix = np.where(state == 0, target.theta, 0.0), target.mix.copy()
    ascent, *_ = kernels.optimise(
        target.rows, target.planes, target.region, target.goal, 0.0, False, state, theta, mix,
        100, 0.1, np.inf, np.empty(size), np.empty(size), np.empty(m), np.empty(m), np.empty(m),
    )  # fmt: skip
    proof = relax(target, state)
    assert proof is not None
    assert proof.bound >= ascent - 1e-5 * (1.0 + abs(ascent))
    for x in samples_in(target.ball, 60, seed):
        v = basis_at(target, x)
        margin = target.goal.row @ v + target.goal.offset
        same = np.where(v[target.condensed.inputs :] > 0, 1, -1)
        if np.all((state == 0) | (state == same)):
            assert margin >= proof.bound
            assert margin > 0 or np.max(np.abs(x - target.ball.center)) >= proof.radius - 1e-12


def test_an_opening_settles_easy_questions_without_a_certificate(
    images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("neither a certificate nor the search's rungs are needed")

    network = gp.load("models/mnist-a-stable.onnx")
    gp.distance(network, images[0], time_limit=0.1)
    monkeypatch.setattr("graphprune.evaluate.distance.certify", unexpected)
    result = gp.distance(network, images[0], time_limit=60)
    assert (result.status, result.certified) == ("exact", True)


@settings(max_examples=20)
@given(seeds, st.sampled_from([[2, 4, 2], [3, 4, 3, 2]]))
def test_a_leaf_says_what_its_samples_say(seed: int, widths: list[int]) -> None:
    target = target_of(seed, widths, 0.3)
    rng = np.random.default_rng(seed)
    v = basis_at(target, rng.uniform(target.ball.lower, target.ball.upper))
    hidden = v[target.condensed.inputs :]
    state = np.where(hidden > 0, 1, -1).astype(np.int8)
    leaf = solve_leaf(target, state)
    assert leaf.neuron is None
    for x in samples_in(target.ball, 200, seed):
        w = basis_at(target, x)
        same = np.all((w[target.condensed.inputs :] > 0) == (state > 0))
        if same and target.goal.row @ w + target.goal.offset <= 0:
            assert not leaf.closed
            assert np.max(np.abs(x - target.ball.center)) >= leaf.radius - 1e-12


@given(seeds, shapes, st.integers(0, 30))
def test_ascent_never_ends_below_its_start(seed: int, widths: list[int], steps: int) -> None:
    target = target_of(seed, widths, 0.3)
    m, size = target.neurons, target.condensed.basis
    rng = np.random.default_rng(seed)
    state = rng.choice([0, 0, 1, -1], m).astype(np.int8)
    theta = np.where(state == 0, rng.uniform(0, 1, m), 0.0)
    mix = np.zeros(m)
    net = (target.rows, target.planes, target.region, target.goal)
    a, v, lam, pi = np.empty(size), np.empty(size), np.empty(m), np.empty(m)
    start, _ = kernels.bound_once(*net, 0.0, state, theta, mix, a, v, lam, pi)
    slopes = theta.copy()
    end, *_ = kernels.optimise(
        *net, 0.0, False, state, slopes, mix, steps, 0.3, start + 1.0, a, v, lam, pi, np.empty(m)
    )  # fmt: skip
    assert end >= start
    assert np.all(slopes >= 0.0)
    assert np.all(slopes[state == 0] <= 1.0)


@settings(max_examples=10)
@given(seeds)
def test_pursuit_ends_at_confirmed_closer_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [4, 8, 6, 3])
    network = gp.from_proto(net.model())
    x = rng.uniform(0.2, 0.8, 4)
    label = int(np.argmax(net.logits(x)))
    anchor = gp.Anchor(x.astype(np.float32), label)
    ledger = Ledger(Problem(network, anchor, gp.Domain(), 1.0))
    found = 0
    for _ in range(6):
        before = ledger.upper
        target = int(rng.choice([t for t in range(3) if t != label]))
        taken = pursue(ledger, target, rng.uniform(0, 1, 4), np.inf)
        assert taken == (ledger.upper < before)
        found += taken
    if ledger.witness is not None:
        logits = net.logits(ledger.witness.x.astype(float))
        assert found
        assert logits[label] <= logits[ledger.witness.target]
        assert ledger.upper == pytest.approx(
            np.max(np.abs(ledger.witness.x.astype(float) - anchor.x.astype(float)))
        )


@pytest.mark.parametrize("index", [1, 8, 62, 92])
def test_published_verdicts_and_distances(truth: Path, index: int) -> None:
    network = gp.load(truth / "wk17a" / "wk17a.onnx")
    anchor = gp.load_anchors("models/mnist-test-100.npz", network)[index]
    with (truth / "wk17a" / "published.csv").open() as file:
        (row,) = (r for r in csv.DictReader(file) if int(r["mnist_test_index0"]) == index)
    result = gp.distance(network, anchor, solver="search", radius=0.1, time_limit=60)
    assert result.certified
    assert result.status == ("robust" if row["verdict_within_0.1"] == "robust" else "exact")
    if row["dist_min_over_runs"]:
        assert result.upper == pytest.approx(float(row["dist_min_over_runs"]), rel=1e-4)


@settings(max_examples=15)
@given(st.data())
def test_interval_and_witness_on_any_network(data: st.DataObject) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    result = gp.distance(network, anchor, solver="search", time_limit=20)
    assert result.certified
    if result.upper is not None:
        assert result.lower <= result.upper
        assert result.witness is not None
        assert result.witness.distance == result.upper


def test_condensed_goals_speak_of_the_network(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    ball = Ball(images[0].x.astype(float), 0.1)
    layers = pre_activation_bounds(tiny, Boxes.of(ball))
    bounds = bounds_of(layers)
    condensed = condense(tiny, bounds, ball)
    rows, region = rows_of(condensed), region_of(ball)
    assert len(no_planes(rows).has) == condensed.unstable
    goal = margin_goal(condensed, margin_rows(tiny, images[0].label)[0])
    v = np.concatenate([images[0].x.reshape(-1), np.zeros(condensed.unstable)]).astype(float)
    kernels.evaluate(rows, v)
    from graphprune.runtime.reference import forward64

    logits = forward64(tiny, images[0].x[None])[0][0]
    expected = margin_rows(tiny, images[0].label)[0] @ logits
    assert goal.row @ v + goal.offset == pytest.approx(expected, abs=1e-9)
    assert np.all(region.lower < region.upper)


@pytest.mark.parametrize("limit", [0.0, 1e-9, 1.0])
def test_limits_end_the_search_with_an_honest_interval(
    mnist_a: gp.Network, images: list[gp.Anchor], limit: float
) -> None:
    start = time.process_time()
    result = gp.distance(mnist_a, images[0], solver="search", time_limit=limit)
    assert time.process_time() - start < limit + 2.0
    assert result.status == "interval"
    assert result.certified
    assert result.upper is None or result.lower <= result.upper


def test_radius_asked_for(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    whole = gp.distance(tiny, images[0], solver="search", time_limit=60)
    assert (whole.status, whole.certified) == ("exact", True)
    below = gp.distance(tiny, images[0], solver="search", radius=0.9 * whole.lower)
    assert (below.status, below.upper, below.certified) == ("robust", None, True)
    assert below.lower == 0.9 * whole.lower, "the radius asked for, also where more is known"
    # A certificate that reaches further does not change the answer either.
    known = gp.certify(tiny, images[0])
    small = gp.distance(tiny, images[0], radius=0.5 * known.radius, known_certificate=known)
    assert (small.status, small.lower) == ("robust", 0.5 * known.radius)
    above = gp.distance(tiny, images[0], solver="search", radius=1.3 * whole.lower)
    assert above.status == "exact"
    assert above.upper == pytest.approx(whole.upper, rel=2e-4)


def test_ctrl_c_carries_the_interval_reached(
    mnist_a: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = gp.certify(mnist_a, images[0])

    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphprune.backends.search.solver.climb", press)
    with pytest.raises(Interrupted) as stopped:
        gp.distance(mnist_a, images[0], solver="search", known_certificate=known)
    found = stopped.value.found
    assert isinstance(found, Distance)
    assert (found.status, found.lower) == ("interval", known.radius)
    assert found.upper is not None
    assert found.lower < found.upper


def test_a_boundary_where_the_margin_just_stops_changing() -> None:
    """Classes equal wherever two neurons are off: the margin never falls below 0."""
    net = Perceptron(
        [np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])],
        [np.array([-1.0, -0.6]), np.zeros(2)],
    )
    network = gp.from_proto(net.model())
    anchor = gp.Anchor(np.array([0.8, 0.7], np.float32), 0)
    ball = Ball(anchor.x.astype(np.float64), 0.4)
    bounds = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
    target = Target(network, margin_rows(network, 0)[0], ball, bounds)
    leaf = solve_leaf(target, np.full(2, kernels.INACTIVE, np.int8))
    assert not leaf.closed
    assert leaf.radius <= 0.25 + 1e-7
    assert leaf.radius == pytest.approx(0.25, abs=1e-6)
    assert leaf.point is not None
    np.testing.assert_allclose(np.abs(leaf.point - ball.center).max(), 0.25, atol=1e-6)
    found = gp.distance(network, anchor, solver="search")
    assert found.status == "exact"
    assert found.lower <= 0.25 + 1e-7
    assert found.lower == pytest.approx(0.25, abs=1e-6)
    assert found.upper == pytest.approx(0.25, abs=1e-6)


def test_rungs_are_small_only_where_trees_are_large() -> None:
    """Seconds that went into roots say nothing of how a tree grows with the radius."""
    from graphprune.backends.search.solver import LARGEST_STEP, _step

    assert _step(nodes=3, seconds=5.0, remaining=10.0) == LARGEST_STEP
    assert _step(nodes=5000, seconds=0.5, remaining=10.0) == LARGEST_STEP
    assert _step(nodes=5000, seconds=5.0, remaining=np.inf) == LARGEST_STEP
    assert _step(nodes=5000, seconds=5.0, remaining=-1.0) < LARGEST_STEP
    slower = [_step(5000, s, 60.0) for s in (2.0, 8.0, 20.0)]
    assert slower == sorted(slower, reverse=True)
    assert slower[-1] < LARGEST_STEP


def test_the_region_holds_the_ball_without_subnormal_numbers() -> None:
    """Products with them take many times as long on some processors: images are full of zeros."""
    x = np.array([0.0, 0.3, 1.0, 0.0])
    ball = Ball(x, 0.3, gp.Domain(0.0, 1.0))
    region = region_of(ball)
    assert np.all(region.lower < ball.lower)
    assert np.all(region.upper > ball.upper)
    for side in (region.lower, region.upper, region.error):
        assert np.all(np.abs(side) > np.finfo(np.float64).tiny)
    assert np.max(np.abs(region.lower - ball.lower)) < 1e-15
