"""The search against brute force and SCIP; every bound of its kernels against samples."""

import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.primal_heuristic import search_near
from graphprune.backends.protocol import ABSOLUTE, DistanceInterval, DistanceProblem
from graphprune.backends.search import first_attempt
from graphprune.backends.search.outcome import RadiusStep
from graphprune.backends.search.settings import DEFAULT
from graphprune.backends.search.solver import PlannedStep, RadiusSchedule, Search
from graphprune.evaluate.distance import Distance
from graphprune.progress import Interrupted
from graphprune.runtime.resources import Resources
from graphprune.testing import anchors, networks
from tests.conftest import Floor
from tests.drawn import labelled
from tests.oracles import Perceptron, brute_force_distance

seeds = st.integers(0, 10_000)
shapes = st.sampled_from([[2, 6, 2], [3, 5, 5, 2], [4, 6, 4, 4, 3]])


@settings(max_examples=12)
@given(
    labelled([2, 4, 2], [1, 5, 2], [3, 3, 3, 3], [2, 4, 4, 2], [4, 3, 3, 2, 3]),
    st.sampled_from([(0.0, 1.0), (-np.inf, np.inf)]),
)
def test_search_scip_and_brute_force_agree(
    floor: Floor, drawn: tuple[Perceptron, gp.Network, gp.Anchor], box: tuple[float, float]
) -> None:
    net, network, anchor = drawn
    domain = gp.Domain(*box)
    expected = brute_force_distance(net, anchor.x.astype(float), anchor.label, *box)
    floor.checked(np.isfinite(expected) and expected < 500, least=5)
    solvers: tuple[str, ...] = ("search", "scip")
    for solver in solvers:
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


@settings(max_examples=15)
@given(labelled([2, 4, 2], [3, 3, 3, 3], [2, 4, 4, 2], [4, 3, 3, 2, 3]))
def test_a_first_attempt_has_the_last_digits_where_few_neurons_are_unstable(
    floor: Floor, drawn: tuple[Perceptron, gp.Network, gp.Anchor]
) -> None:
    net, network, anchor = drawn
    found = gp.attack(network, anchor)
    floor.checked(found.witness is not None, least=5)
    if found.witness is None:
        return
    expected = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    for few in (0, 100):
        interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 1.0))
        interval.accept(found.witness)
        schedule = replace(DEFAULT.schedule, few=few, closing=0.0)
        first_attempt(interval, Resources(), replace(DEFAULT, schedule=schedule))
        assert interval.lower <= expected * (1 + 1e-6) + 1e-7
        if not interval.closed:
            continue
        digits = interval.upper - interval.lower <= ABSOLUTE
        assert digits or not interval.at_most_unstable(few)


def test_an_opening_settles_easy_questions_without_a_certificate(
    images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("neither a certificate nor the radius schedule is needed")

    network = gp.load("models/mnist-a-stable.onnx")
    gp.distance(network, images[0], time_limit=0.1)
    monkeypatch.setattr("graphprune.evaluate.distance.certified_radius", unexpected)
    result = gp.distance(network, images[0], time_limit=60)
    assert (result.status, result.certified) == ("exact", True)


@settings(max_examples=10)
@given(seeds)
def test_pursuit_ends_at_confirmed_closer_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [4, 8, 6, 3])
    network = gp.from_proto(net.model())
    x = rng.uniform(0.2, 0.8, 4)
    label = int(np.argmax(net.logits(x)))
    anchor = gp.Anchor(x.astype(np.float32), label)
    interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 1.0))
    found = 0
    for _ in range(6):
        before = interval.upper
        target = int(rng.choice([t for t in range(3) if t != label]))
        taken = search_near(interval, target, rng.uniform(0, 1, 4), np.inf)
        assert taken == (interval.upper < before)
        found += taken
    if interval.witness is not None:
        logits = net.logits(interval.witness.x.astype(float))
        assert found
        assert logits[label] <= logits[interval.witness.target]
        assert interval.upper == pytest.approx(
            np.max(np.abs(interval.witness.x.astype(float) - anchor.x.astype(float)))
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

    monkeypatch.setattr("graphprune.backends.search.solver.prove_radius", press)
    with pytest.raises(Interrupted) as stopped:
        gp.distance(mnist_a, images[0], solver="search", known_certificate=known)
    found = stopped.value.found
    assert isinstance(found, Distance)
    assert (found.status, found.lower) == ("interval", known.radius)
    assert found.upper is not None
    assert found.lower < found.upper


def took(trees: float, *, roots: float = 5.0, complete: bool = True) -> RadiusStep:
    return RadiusStep(0.5, complete, 100, 1, roots, trees, stopped=not complete)


def test_radius_steps_are_small_only_where_trees_are_large() -> None:
    """Seconds that went into roots say nothing of how a tree grows with the radius."""
    schedule = RadiusSchedule()
    s = schedule.settings

    def share(trees: float, remaining: float = 60.0) -> float:
        schedule.trees = trees
        return schedule.affordable(remaining)[0]

    assert share(0.01) == share(5.0, np.inf) == s.largest
    assert share(5.0, -1.0) == s.smallest
    slower = [share(seconds) for seconds in (2.0, 8.0, 20.0)]
    assert slower == sorted(slower, reverse=True)
    assert slower[-1] < slower[0] < s.largest


def test_steps_tell_how_trees_grow_on_a_network() -> None:
    schedule = RadiusSchedule()
    plan = PlannedStep(0.5, None, 60.0, 0.02)
    assert schedule.took(plan, took(2.0))
    before = schedule.growth
    # Tenfold over 0.02 of the radius, and faster from there on.
    assert schedule.took(plan, took(20.0))
    assert before < schedule.growth < 55.0
    # Less than before is no sign of slow growth: more was done at the roots.
    before = schedule.growth
    assert schedule.took(plan, took(1.0))
    assert schedule.growth == before
    # One that was given up grew faster than it shows.
    assert schedule.took(plan, took(40.0, complete=False))
    assert schedule.growth > 1.6 / 0.02
    assert schedule.affordable(60.0)[0] <= 0.01


def interval_for(network: gp.Network, anchor: gp.Anchor, unstable: int) -> DistanceInterval:
    witness = gp.attack(network, anchor, effort="fast").witness
    assert witness is not None
    lower = 0.3 * witness.distance
    problem = DistanceProblem(network, anchor, gp.Domain(), 1.0)
    return DistanceInterval(problem, witness, lower, lower, unstable=unstable)


def test_attempts_close_in_on_the_largest_cheap_radius(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    """On a wide network a failure halves the way to what is proven; then steps begin."""
    schedule = RadiusSchedule()
    interval = interval_for(tiny, images[0], 10_000)
    radii = []
    while (plan := schedule.next(interval, 60.0)).least is not None:
        radii.append(plan.radius)
        assert schedule.took(plan, took(0.0, complete=False))
    assert len(radii) > 2
    gaps = np.array(radii) - interval.lower
    np.testing.assert_allclose(gaps[1:], 0.5 * gaps[:-1], rtol=1e-9)
    assert plan.radius <= radii[-1]
    # A step that its limit ended is followed by smaller ones, and the last has all the time.
    shares = [plan.share]
    while plan.share > schedule.settings.smallest:
        assert schedule.took(plan, took(9.0, complete=False))
        plan = schedule.next(interval, 60.0)
        shares.append(plan.share)
    assert shares == sorted(shares, reverse=True)
    assert plan.seconds == 60.0
    # Beyond what failed the steps are as large as they may be, without a limit too: a share of
    # what is proven, which may be far from where the interval closes.
    assert schedule.took(plan, took(0.1))
    interval.lower = schedule.failed
    added = schedule.next(interval, np.inf).radius - interval.lower
    assert added == pytest.approx(schedule.settings.largest * interval.lower)


def test_attempts_stay_near_what_is_certified(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """Where the closest point is far away, halving the way down to a certificate takes long."""
    schedule = RadiusSchedule()
    interval = interval_for(tiny, images[0], 10_000)
    interval.lower = 0.02 * interval.upper
    plans = [schedule.next(interval, 60.0)]
    for _ in range(2):
        interval.lower = plans[-1].radius
        assert schedule.took(plans[-1], took(0.0, roots=0.1))
        plans.append(schedule.next(interval, 60.0))
    growth = np.array([1.5, 1.5**2, 1.5**3])
    radii = [plan.radius for plan in plans]
    np.testing.assert_allclose(radii, 0.02 * interval.upper * np.cumprod(growth), rtol=1e-9)
    # After one that fails and takes long it is time for steps with all effort.
    assert schedule.took(plans[-1], took(0.0, roots=0.1, complete=False))
    plan = schedule.next(interval, 60.0)
    assert plan.least is not None
    assert schedule.took(plan, took(0.0, roots=20.0, complete=False))
    assert schedule.next(interval, 40.0).least is None


def test_a_radius_that_is_asked_about_is_tried_whole(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    """Less than the whole answers nothing: with all the time, where trees may end within it."""
    schedule = RadiusSchedule()
    interval = interval_for(tiny, images[0], 200)
    asked = 0.5 * interval.upper
    interval.problem = replace(interval.problem, cutoff=asked)
    interval.lower = 0.8 * asked
    schedule.trees = 2.0
    plan = schedule.next(interval, 50.0)
    assert (plan.radius, plan.seconds) == (asked, 50.0)
    # They would take days.
    assert schedule.took(plan, replace(took(1.0, complete=False), forecast=1e6))
    plan = schedule.next(interval, 40.0)
    assert plan.radius < asked
    # Nearer to it, and growing more slowly, they fit.
    interval.lower, schedule.growth, schedule.trees = 0.97 * asked, 20.0, 3.0
    plan = schedule.next(interval, 30.0)
    assert (plan.radius, plan.seconds) == (asked, 30.0)


def test_a_narrow_network_goes_through_fixed_shares(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    schedule = RadiusSchedule()
    interval = interval_for(tiny, images[0], 20)
    plan = schedule.next(interval, 60.0)
    assert plan.least is None
    assert plan.radius == pytest.approx(0.6 * interval.upper, rel=1e-3)


def test_a_search_that_rounding_ends_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A tie in real numbers that no float32 run confirms is no upper end, and no proof beyond it."""
    # The scores are 0.125 - |x - 0.5| and 0.
    weights = [np.array([[1.0], [-1.0]]), np.array([[-1.0, -1.0], [0.0, 0.0]])]
    net = Perceptron(weights, [np.array([-0.5, 0.5]), np.array([0.125, 0.0])])
    network = gp.from_proto(net.model())
    anchor = gp.Anchor(np.array([0.5], np.float32), 0)
    problem = DistanceProblem(network, anchor, gp.Domain(), 0.5)
    interval = DistanceInterval(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DistanceInterval, "add_candidate", lambda *_, **__: False)
        patch.setattr("graphprune.backends.search.candidates.search_near", lambda *_: False)
        Search().run(interval, Resources(time.monotonic() + 20.0))
    assert interval.lower == pytest.approx(0.125, rel=1e-2)
    assert interval.lower <= 0.125
    assert "short of its limits" in caplog.text


def test_a_point_beyond_the_search_limit_is_the_new_limit() -> None:
    """Without a domain the search ended at 1000 and left [1000, 3000]."""
    net = Perceptron([np.array([[1.0], [-1.0]])], [np.array([0.0, 6000.0])])
    network = gp.from_proto(net.model())
    found = gp.distance(
        network, gp.Anchor(np.array([6000.0], np.float32), 0), domain=gp.Domain(-np.inf, np.inf)
    )
    assert (found.status, found.certified) == ("exact", True)
    assert found.upper == pytest.approx(3000.0, rel=1e-3)
