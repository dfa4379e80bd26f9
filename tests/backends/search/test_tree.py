"""The search's tree: right in every order, its memory counted truly and never more than asked."""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.search.radius_step import RadiusProof, prove_radius
from graphprune.backends.search.settings import (
    EffortLevel,
    SearchSettings,
    StepSettings,
    TreeSettings,
)
from graphprune.backends.search.tree import PointReceiver, Tree
from graphprune.evaluate.warm import warm_up
from graphprune.runtime.resources import Resources
from tests.conftest import Floor
from tests.drawn import labelled, tree_settings
from tests.oracles import Perceptron, brute_force_distance


def question(seed: int, widths: list[int]) -> DistanceProblem:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, widths)
    x = rng.uniform(0.1, 0.9, widths[0]).astype(np.float32)
    anchor = gp.Anchor(x, int(np.argmax(net.logits(x.astype(float)))))
    return DistanceProblem(gp.from_proto(net.model()), anchor, gp.Domain(), 1.0)


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """After every step of a tree: bytes of its cases, and the bytes of the largest one."""
    seen: list[tuple[int, int]] = []
    before = Tree.step

    def step(self: Tree, points: PointReceiver) -> None:
        before(self, points)
        sizes = [node.bytes + node.case.bytes for node in self.open_nodes()]
        seen.append((self.bytes, max(sizes, default=0)))

    monkeypatch.setattr(Tree, "step", step)
    return seen


# Hypothesis draws many examples per call of the fixture: every one empties the list.
@settings(max_examples=8)
@given(
    labelled([6, 24, 24, 4]).map(lambda drawn: DistanceProblem(*drawn[1:], gp.Domain(), 1.0)),
    st.sampled_from([0, 4_000, 15_000, 40_000, 100_000]),
)
def test_a_small_memory_is_kept_and_the_interval_stays_valid(
    floor: Floor, peaks: list[tuple[int, int]], problem: DistanceProblem, memory: int
) -> None:
    p = problem
    whole = gp.distance(p.network, p.anchor, solver="search", time_limit=60)
    peaks.clear()
    some = gp.distance(
        p.network, p.anchor, solver="search", time_limit=60, memory=(memory + 1) / 2**30
    )
    # Two children more than when it was looked at last.
    floor.checked(len(peaks), least=20)
    assert all(used <= memory + 2 * largest + 1 for used, largest in peaks)
    assert some.certified
    if whole.upper is None:
        assert some.status in ("robust", "interval")
    else:
        assert some.lower <= whole.upper
        assert some.upper is None or some.upper >= whole.lower


@settings(max_examples=12)
@given(
    labelled([2, 8, 2], [3, 5, 4, 3], [3, 4, 5, 2]),
    tree_settings(),
)
def test_no_order_of_nodes_proves_more_or_less_than_brute_force(
    floor: Floor, drawn: tuple[Perceptron, gp.Network, gp.Anchor], tree: TreeSettings
) -> None:
    net, network, anchor = drawn
    expected = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    settings = SearchSettings(step=StepSettings((EffortLevel(np.inf),), few=0), tree=tree)
    for share in (0.95, 1.2):
        radius = share * min(expected, 1.0)
        interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 1.0))
        step = prove_radius(interval, Resources(), radius, 0, settings=settings)
        floor.checked(step.nodes > 1, least=6)
        assert step.radius <= expected * (1.0 + 1e-6) + 1e-7
        assert interval.upper >= expected * (1.0 - 1e-6) - 1e-7
        assert step.radius >= min(radius, expected, 1.0) * (1.0 - 2e-4) - 1e-6


def test_short_memory_goes_depth_first_and_still_finishes(
    peaks: list[tuple[int, int]],
) -> None:
    settings = SearchSettings(step=StepSettings((EffortLevel(np.inf),)))
    problem = question(0, [8, 30, 30, 4])
    assert prove_radius(
        DistanceInterval(problem), Resources(), 0.3133, 0, settings=settings
    ).complete
    most = max(used for used, _ in peaks)
    peaks.clear()
    settings = replace(settings, tree=TreeSettings(depth_first=0.5))
    found = prove_radius(
        DistanceInterval(problem), Resources(memory=int(0.9 * most)), 0.3133, 0, settings=settings
    )
    assert found.complete
    assert not found.full
    assert max(used for used, _ in peaks) < 0.9 * most


def test_the_interval_reached_is_said(caplog: pytest.LogCaptureFixture) -> None:
    p = question(0, [8, 30, 30, 4])
    found = gp.distance(p.network, p.anchor, solver="search", memory=1e-6)
    assert found.status == "interval"
    assert found.upper is not None
    assert 0.0 < found.lower < found.upper
    assert caplog.text.count("stopped at its memory limit") == 1


@pytest.mark.parametrize("cuts", [0, 1])
def test_bytes_are_what_cases_take(
    cuts: int, mnist_a: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_up()  # kernels that are loaded in between would count
    settings = SearchSettings(step=StepSettings((EffortLevel(np.inf, cuts),)))
    # (bytes taken, bytes counted) while the tree grows.
    seen: list[tuple[int, int]] = []
    before = Tree.step

    def step(self: Tree, points: PointReceiver) -> None:
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        before(self, points)
        if len(self) == 60 * (len(seen) + 1):
            gc.collect()  # what is garbage is taken by nobody
            seen.append((tracemalloc.get_traced_memory()[0], self.bytes))

    class Some(Resources):
        @property
        def over(self) -> bool:
            return len(seen) > 4

    monkeypatch.setattr(Tree, "step", step)
    # A forecast expands nodes outside of steps, and leaves garbage that later sights lack.
    monkeypatch.setattr(RadiusProof, "_forecasts", False)
    try:
        prove_radius(
            DistanceInterval(DistanceProblem(mnist_a, images[0], gp.Domain(), 1.0)),
            Some(),
            0.044,
            0,
            settings=settings,
        )
    finally:
        tracemalloc.stop()
    taken, counted = (last - first for first, last in zip(seen[0], seen[-1], strict=True))
    assert taken <= counted <= 1.25 * taken
