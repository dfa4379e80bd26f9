"""Distances of networks whose layers differ in scale by many powers of ten."""

from dataclasses import replace

import numpy as np
import pytest

import graphprune as gp
from graphprune.attacks.confirm import Witness
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.scip.formulate import formulate
from graphprune.backends.scip.scaling import believed, scaled, spread, units
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from tests.oracles import Perceptron, brute_force_distance

# Powers of two that a layer's weights are multiplied by.
SCALES = [(0, 53, -53), (30, 30, 30), (27, -27, 30), (-20, 60, 10), (20, 20, 20), (-27, 13, 27)]
# Anchors that have a boundary in [0, 1], and one that has none.
SEEDS = [1, 3, 0]


def perceptron(seed: int) -> tuple[Perceptron, gp.Anchor, float]:
    """A network, an anchor with its own label, and its distance in [0, 1]."""
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [3, 4, 4, 2])
    x = rng.uniform(0.2, 0.8, 3).astype(np.float32)
    label = int(np.argmax(net.logits(x.astype(float))))
    expected = brute_force_distance(net, x.astype(float), label, 0.0, 1.0)
    return net, gp.Anchor(x, label), expected


def in_units(net: Perceptron, powers: tuple[int, ...]) -> Perceptron:
    """The same network up to a factor, every layer in a unit of its own."""
    factors = np.exp2(powers)
    weights = [w * f for w, f in zip(net.weights, factors, strict=True)]
    biases = [b * f for b, f in zip(net.biases, np.cumprod(factors), strict=True)]
    return Perceptron(weights, biases)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("powers", SCALES, ids=str)
def test_units_of_layers_do_not_change_what_scip_answers(
    powers: tuple[int, ...], seed: int
) -> None:
    net, anchor, expected = perceptron(seed)
    network = gp.from_proto(in_units(net, powers).model())
    found = gp.distance(network, anchor, solver="scip", time_limit=10)
    assert found.lower <= expected
    if np.isfinite(expected):
        assert found.status == "exact"
        assert found.upper == pytest.approx(expected, rel=1e-4)
    else:
        assert found.status == "robust"


@pytest.mark.parametrize("powers", SCALES[:2], ids=str)
@pytest.mark.parametrize("solver", ["search", "auto"])
def test_no_scale_is_too_bad_for_an_interval(solver: str, powers: tuple[int, ...]) -> None:
    net, anchor, expected = perceptron(SEEDS[0])
    network = gp.from_proto(in_units(net, powers).model())
    found = gp.distance(network, anchor, solver=solver, time_limit=10)
    assert found.lower <= expected * (1 + 1e-6)
    assert found.upper is None or found.upper >= expected * (1 - 1e-6)


def test_a_scaled_program_has_the_same_points() -> None:
    net, anchor, _ = perceptron(SEEDS[0])
    network = gp.from_proto(in_units(net, (27, 13, 27)).model())
    ball = anchor.ball(0.3, gp.Domain())
    bounds = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
    row = margin_rows(network, anchor.label)[0]
    program = formulate(condense(network, bounds, ball), ball, row)
    same, unit = scaled(program), units(program)
    assert np.all(np.log2(unit) == np.round(np.log2(unit)))
    assert unit.max() > 10.0
    assert np.max(np.abs(same.rows.data)) < 2e6
    assert max(np.max(np.abs(same.upper)), np.max(np.abs(same.lower))) < 2e6
    x = ball.center.reshape(-1) + 0.1
    v, scaled_v = program.solution(x, 0.1), same.solution(x, 0.1)
    np.testing.assert_array_equal(scaled_v * unit, v)
    # Which rows hold at the point, and with which rest, relatively.
    size = abs(program.rows) @ np.abs(v) + 1e-300
    same_size = abs(same.rows) @ np.abs(scaled_v) + 1e-300
    np.testing.assert_allclose((same.rows @ scaled_v) / same_size, (program.rows @ v) / size)


def test_terms_that_cancel_leave_nothing_to_believe() -> None:
    net, anchor, _ = perceptron(SEEDS[0])
    ball = anchor.ball(0.3, gp.Domain())
    ratios = []
    for common in (0.0, 1e13):
        # Both logits read the last neurons with a large weight: the margin does not.
        same = Perceptron([*net.weights[:2], net.weights[2] + common], net.biases)
        network = gp.from_proto(same.model())
        bounds = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
        row = np.array([1.0, -1.0 - 1e-3])
        program = formulate(condense(network, bounds, ball), ball, row)
        ratios.append(spread(program, 1.0))
    assert ratios[0] < 1e3 < 1e6 < ratios[1]
    assert 0.299 < believed(0.3, ratios[0]) < 0.3
    assert believed(0.3, ratios[1]) == 0.0
    assert believed(0.3, np.nan) == 0.0


def test_an_end_is_held_against_the_points_of_its_own_class() -> None:
    net, anchor, _ = perceptron(SEEDS[0])
    problem = DistanceProblem(gp.from_proto(net.model()), anchor, gp.Domain(), 1.0)
    interval = DistanceInterval(problem)
    near = Witness(anchor.x, 0.1, 7)
    interval.witness = near
    interval.accept(replace(near, target=8, distance=0.3))
    assert interval.upper == 0.1
    assert interval.refuted(0.31, 8)
    assert not interval.refuted(0.29, 8)
    assert interval.refuted(0.11, 7)
    assert not interval.refuted(0.9, 9)
