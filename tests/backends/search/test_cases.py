"""Cases that trees hand on, from ball to ball and level to level, against brute force."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.search.cases import CarriedCase, ClosedCases, KnownCases, carried
from graphprune.backends.search.radius_step import RadiusProof, prove_radius
from graphprune.backends.search.settings import DEFAULT, EffortLevel, SearchSettings
from graphprune.backends.search.worker_group import WorkerGroup
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources
from tests.backends.test_trace import _splits as splits
from tests.backends.test_trace import examine
from tests.conftest import Floor
from tests.drawn import labelled
from tests.oracles import Perceptron, brute_force_distance

Drawn = tuple[Perceptron, gp.Network, gp.Anchor]
SHAPES = [2, 5, 3], [2, 3, 3, 3], [2, 4, 4, 2], [3, 2, 2, 2, 4]
radii = st.lists(st.floats(0.3, 1.6), min_size=2, max_size=5)


def with_levels(*budgets: float, few: int = 0) -> SearchSettings:
    levels = tuple(
        EffortLevel(nodes, cuts=2 * place, constrained=place > 1)
        for place, nodes in enumerate(budgets)
    )
    return replace(DEFAULT, step=replace(DEFAULT.step, levels=levels, few=few, worth=np.inf))


@settings(max_examples=25)
@given(labelled(*SHAPES), radii, st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_cases_carried_from_any_ball_to_any_other_prove_no_more_than_is_true(
    floor: Floor, drawn: Drawn, shares: Sequence[float], budgets: Sequence[int]
) -> None:
    """Unfinished ones too; and with all the nodes that it takes, no less."""
    net, network, anchor = drawn
    true = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    known, end = KnownCases(), min(true, 1.0)
    interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 1.0))
    for place, share in enumerate(shares):
        own = with_levels(*budgets, few=64 * (place % 2))
        step = prove_radius(interval, Resources(), share * end, 0, known=known, settings=own)
        for proven in (step.radius, interval.lower):
            assert proven <= true * (1 + 1e-9) + 1e-12
        floor.checked(step.nodes > 0, least=5)
    step = prove_radius(
        interval, Resources(), 0.99 * end, 0, known=known, settings=with_levels(np.inf)
    )
    assert step.complete


@settings(max_examples=15)
@given(labelled([3, 8, 8, 3], [4, 6, 6, 6, 4]), radii)
def test_a_recorded_search_that_carries_cases_keeps_whole_trees(
    floor: Floor, drawn: Drawn, shares: Sequence[float]
) -> None:
    _, network, anchor = drawn
    known = KnownCases()
    problem = DistanceProblem(network, anchor, gp.Domain(), 1.0)
    for share in shares:
        interval = DistanceInterval(problem, record=True)
        own = with_levels(np.inf)
        prove_radius(interval, Resources(), 0.5 * share, 0, known=known, settings=own)
        # A case that holds the point which became the upper end has no bound to be told of.
        if interval.trace is not None and interval.trace.targets and interval.witness is None:
            examine(interval.trace, network, anchor)
            floor.checked(True, least=3)


@settings(max_examples=25)
@given(labelled([3, 6, 6, 3]), st.floats(0.05, 1.0), st.floats(0.4, 2.0), st.integers(0, 99))
def test_carried_cases_cover_their_ball(
    floor: Floor, drawn: Drawn, radius: float, other: float, seed: int
) -> None:
    """Every point of the new ball with a row <= 0 is in a carried case, as the network splits it."""
    _, network, anchor = drawn
    interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 1.0))

    def proof(at: float) -> RadiusProof:
        return RadiusProof(interval, Resources(), at, WorkerGroup(1), with_levels(5, 5))

    before, after = proof(radius), proof(min(other * radius, 1.0))
    first, second = before._targets(), after._targets()
    rng = np.random.default_rng(seed)
    closed, groups = ClosedCases(before.region.neurons), [[target] for target in first]
    trees = [before._build_tree(group, closed) for group in groups]
    if trees:
        before._expand_each(trees, groups)
    before._remember(trees, groups, closed)
    for root in second:
        cases = before.known.cases(root.label)
        if not cases:
            continue
        nodes = carried(cases, root, after.region)
        width = after.ball.upper - after.ball.lower
        x = after.ball.lower + width * rng.random((200, *width.shape))
        logits, *zs = forward64(network, x)
        z = np.concatenate([z.reshape(len(z), -1) for z in zs], axis=1)[:, after.region.neurons]
        for values in z[logits @ root.row <= 0.0]:
            floor.checked(len(cases) > 1, least=20)
            assert any(
                all(values[row] * phase >= 0.0 for row, phase in splits(node.path))
                for node in nodes
            )
        for node in nodes:
            assert all(node.phases[row] == phase for row, phase in splits(node.path))
            unsplit = node.slopes[node.phases == 0]
            assert np.all((unsplit >= 0.0) & (unsplit <= 1.0))
            assert np.all(node.slopes >= 0.0)


def test_cases_of_a_root_with_less_preparation_are_forgotten() -> None:
    none = np.zeros(0, np.float32)
    case = CarriedCase(np.zeros(0, np.intp), None, none, none, 0.1)
    known = KnownCases()
    known.put(3, [case])
    known.prepare(3, 0)
    assert known.cases(3) == [case]
    earlier = known.copy()
    known.prepare(3, 2)
    assert known.cases(3) == []
    known.put(3, [case] * 3)
    for kinds in (2, 1):
        known.prepare(3, kinds)
        assert len(known.cases(3)) == 3
    # What comes back from before is of a root with less, again.
    known.prefer(earlier, 0.2)
    assert known.cases(3) == [case]
    known.prepare(3, 1)
    assert known.cases(3) == []
