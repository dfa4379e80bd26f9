"""What the search keeps for certificates: trees that leave no case out."""

from collections import Counter

import numpy as np
import pytest

import graphprune as gp
from graphprune.backends import trace as traces
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.search.radius_step import prove_radius
from graphprune.backends.search.settings import EffortLevel, SearchSettings, StepSettings
from graphprune.backends.trace import Path, TargetTrace, Trace
from graphprune.evaluate.distance import distance
from graphprune.region import Domain
from graphprune.runtime.resources import Resources
from tests.conftest import MODELS


def _splits(path: Path) -> list[tuple[int, int]]:
    found = []
    while path is not None:
        path, row, phase = path
        found.append((row, phase))
    return found


def _covers(outline: TargetTrace) -> bool:
    """The cases are the leaves of one binary tree: all of it, and nothing twice."""
    leaves = [frozenset(_splits(case.path)) for case in outline.cases]
    assert all(len({row for row, _ in leaf}) == len(leaf) for leaf in leaves)
    assert max(Counter(leaves).values()) == 1
    share: float = sum(0.5 ** len(leaf) for leaf in leaves)
    return share == 1.0


def examine(trace: Trace, network: gp.Network, anchor: gp.Anchor) -> None:
    assert trace.targets
    for target, outline in trace.targets.items():
        assert target != anchor.label
        assert _covers(outline)
        assert len(set(outline.neurons.tolist())) == len(outline.neurons)
        assert outline.neurons.max() < network.neurons
        for case in outline.cases:
            assert case.slopes is not None
            assert case.slopes.shape == outline.neurons.shape
            assert (case.cut_weights is None) == (outline.planes is None)


def test_traces_are_whole_trees() -> None:
    network = gp.load(MODELS / "mnist-tiny.onnx")
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[2]
    found = distance(network, anchor, record=True)
    assert found.trace is not None
    examine(found.trace, network, anchor)
    assert distance(network, anchor).trace is None


class _Few(Resources):
    """Over after so many looks at it: stops a tree in its middle, on any machine."""

    looks = 0

    @property
    def over(self) -> bool:
        type(self).looks += 1
        return type(self).looks > 14


def test_traces_of_stopped_searches_are_whole_trees_too() -> None:
    network = gp.load(MODELS / "mnist-tiny.onnx")
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[2]
    interval = DistanceInterval(DistanceProblem(network, anchor, Domain(), 1.0), record=True)
    done = prove_radius(interval, _Few(), 0.03325, 0)
    assert not done.complete
    assert interval.trace is not None
    examine(interval.trace, network, anchor)


def test_lower_ends_of_trees_that_are_given_up_have_traces() -> None:
    """A tree out of nodes raises the lower end; the next level's, stopped at once, does not."""
    settings = SearchSettings(step=StepSettings((EffortLevel(4), EffortLevel(np.inf))))
    network = gp.load(MODELS / "mnist-tiny.onnx")
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[2]
    interval = DistanceInterval(DistanceProblem(network, anchor, Domain(), 1.0), record=True)

    looks: list[bool] = []

    class Second(Resources):
        @property
        def over(self) -> bool:
            looks.append(interval.lower > 0.0)
            return sum(looks) > 1

    done = prove_radius(interval, Second(), 0.03325, 0, settings=settings)
    assert done.level == 1
    assert done.radius <= interval.lower < 0.03325
    assert interval.trace is not None
    examine(interval.trace, network, anchor)


def test_traces_keep_paths_when_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "ROOM", -1)
    network = gp.load(MODELS / "mnist-tiny.onnx")
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[2]
    found = distance(network, anchor, record=True)
    assert found.trace is not None
    assert all(map(_covers, found.trace.targets.values()))
    cases = [case for outline in found.trace.targets.values() for case in outline.cases]
    assert all(case.slopes is None for case in cases)
