"""Forecasts of trees: right on average, and no change of what is proven."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.relaxation import tighten
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search import forecast as module
from graphprune.backends.search.cases import KnownCases
from graphprune.backends.search.forecast import Forecast, Outlook, forecast
from graphprune.backends.search.radius_step import prove_radius
from graphprune.backends.search.settings import (
    EffortLevel,
    SearchSettings,
    StepSettings,
    TreeSettings,
)
from graphprune.backends.search.solver import PlannedStep, RadiusSchedule
from graphprune.backends.search.tree import Tree
from graphprune.backends.search.worth import RootWorth
from graphprune.runtime.resources import Resources
from tests.backends.relaxation.subproblems import subproblem
from tests.conftest import Floor
from tests.drawn import labelled
from tests.oracles import Perceptron, brute_force_distance

# Every node is expanded as it would be in any other order.
ALIKE = TreeSettings(refresh_share=0.0, lp_share=0, lp_splits=1 << 30)


class Unheard:
    """Takes points and does nothing."""

    radius = np.inf

    def add_candidate(self, x: np.ndarray) -> None: ...
    def search_near(self, target: int, x: np.ndarray) -> None: ...


def tree_of(case: Subproblem) -> Tree:
    tree = Tree(case.ball, Resources(), settings=ALIKE)
    tree.add_roots([case.optimised()])
    return tree


def whole(tree: Tree) -> int:
    """All nodes of a tree; more than 400 of them are too many."""
    while len(tree) and tree.nodes < 400:
        tree.step(Unheard())
    return tree.nodes if not len(tree) else 0


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from([0.15, 0.25, 0.35]), st.integers(1, 6))
def test_dives_change_nothing_and_are_right_on_average(
    floor: Floor, seed: int, radius: float, dives: int
) -> None:
    case = subproblem(seed, [6, 16, 16, 3], radius)
    every = whole(tree_of(case))
    floor.checked(every > 20, least=3)
    if every <= 20:
        return
    found = []
    for place in range(40):
        tree = tree_of(case)
        left = forecast(tree, Unheard(), dives, seed=place)
        found.append(left.nodes + tree.nodes)
        assert tree.bytes == sum(n.bytes for n in tree.open_nodes()) + case.bytes * bool(len(tree))
        if place == 0:
            assert whole(tree) == every
    # The mean of 40; single ones of one dive are off by a factor of three.
    assert every / 2.5 <= np.mean(found) <= 2.5 * every


@settings(max_examples=20)
@given(labelled([2, 8, 2], [3, 5, 4, 3], [3, 4, 5, 2]), st.integers(1, 3), st.floats(0.1, 3.0))
def test_steps_with_forecasts_prove_no_more_than_brute_force(
    floor: Floor, drawn: tuple[Perceptron, gp.Network, gp.Anchor], dives: int, ahead: float
) -> None:
    net, network, anchor = drawn
    expected = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    levels = (EffortLevel(2), EffortLevel(8, cuts=3), EffortLevel(np.inf, cuts=3, constrained=True))
    steps = replace(StepSettings(levels, few=0), dives=dives, ahead=ahead, soon=0.0)
    for share in (0.95, 0.999, 1.2):
        radius = share * min(expected, 1.0)
        interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 1.0))
        step = prove_radius(interval, Resources(), radius, 0, settings=SearchSettings(step=steps))
        floor.checked(step.nodes > 2, least=5)
        assert step.radius <= expected * (1 + 1e-6) + 1e-7
        assert step.complete or share > 1.0


def test_a_step_is_given_up_where_its_trees_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = Perceptron.random(np.random.default_rng(3), [12, 60, 60, 60, 4])
    x = np.random.default_rng(3).uniform(0.2, 0.8, 12)
    anchor = gp.Anchor(x.astype(np.float32), int(np.argmax(net.logits(x))))
    problem = DistanceProblem(gp.from_proto(net.model()), anchor, gp.Domain(), 1.0)
    monkeypatch.setattr(module, "forecast", lambda *_: Forecast(1e9, 1e6))
    step = prove_radius(DistanceInterval(problem), Resources().within(1e3), 0.3, 4)
    assert step.forecast is not None
    assert step.forecast >= 1e6
    assert (step.complete, step.stopped, step.nodes) == (False, False, 0)
    # It is given up once: who comes back to it has nothing better to do.
    known, forecasts = KnownCases(), []
    for radius, seconds in ((0.3, 1e3), (0.29, 1e3), (0.2899, 1.0)):
        within, interval = Resources().within(seconds), DistanceInterval(problem)
        forecasts.append(prove_radius(interval, within, radius, 4, known=known).forecast)
    assert [found is None for found in forecasts] == [False, False, True]
    # The next step is the smaller the longer this one would have taken.
    shares = []
    for seconds in (2e3, 1e6):
        schedule = RadiusSchedule()
        plan = PlannedStep(0.3, None, 1e3, 0.2)
        assert schedule.took(plan, replace(step, forecast=seconds))
        shares.append(schedule.affordable(100.0)[0])
    assert 0.2 > shares[0] > shares[1]


@pytest.mark.parametrize("ahead", [0.0, 9.0])
def test_what_the_next_level_takes_is_part_of_a_forecast(
    monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    """Only where the tree is worth it: else the next level goes without."""
    monkeypatch.setattr(module, "forecast", lambda *_: Forecast(1e6, 10.0))
    level = EffortLevel(8, cuts=3, kept=0.3)
    for worth, more in ((1.0, ahead), (0.5, 0.0)):
        outlook = Outlook(replace(StepSettings(), worth=worth))
        tree = tree_of(subproblem(0, [6, 16, 16, 3], 0.25))
        found = outlook.budgets([tree], [1], [level], [ahead], Unheard(), Resources(), 1)
        assert found == [None]
        assert outlook.total == pytest.approx(3.0 + more)
        # It prepares the next level, and is no part of its tree.
        assert outlook.spent == 0.0


def test_harder_targets_are_not_dived_into_where_an_easier_one_needs_its_next_level(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = iter([Forecast(1.0, 0.5), Forecast(1e6, 10.0), Forecast(2.0, 1.0)])
    monkeypatch.setattr(module, "forecast", lambda *_: next(known))
    plain, cuts = EffortLevel(8, kept=0.1), EffortLevel(8, cuts=3)
    trees = [tree_of(subproblem(0, [6, 16, 16, 3], 0.25)) for _ in range(4)]
    outlook = Outlook(StepSettings())
    found = outlook.budgets(
        trees, [1, 2, 3, 4], [plain, plain, plain, cuts], [0.0] * 4, Unheard(), Resources(), 1
    )
    assert [nodes is None for nodes in found] == [False, True, True, False]
    assert outlook.seconds == {1: 0.5, 2: 10.0, 3: 10.0, 4: 1.0}
    assert outlook.total == pytest.approx(0.05 + 1.0 + 1.0 + 1.0)


def test_late_layers_wait_for_trees_that_they_shorten_enough() -> None:
    known, outlook = KnownCases(), Outlook(StepSettings())
    worth = RootWorth(StepSettings(), known, outlook)
    worth.pass_seconds = 1e-3
    seconds = tighten.late_steps(worth.settings.late) * worth.pass_seconds
    assert not worth.late([1, 2])
    outlook.kept[1] = 3.0 * seconds
    assert worth.late([1, 2])
    # Where they gained little the last time, for longer ones.
    case = subproblem(0, [6, 16, 16, 3], 0.25)
    worth.had_late([replace(case, bound=-2.0)], [replace(case, bound=-1.9)])
    assert known.late_kept == pytest.approx(0.95)
    assert not worth.late([1, 2])
    outlook.kept[2] = 30.0 * seconds
    assert worth.late([1, 2])
