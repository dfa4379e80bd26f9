"""SCIP beside the search: what it finds is taken up, and its end is nobody else's."""

import os
import signal

import numpy as np
import pytest

import graphprune as gp
from graphprune.backends import choose, race
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.race import Race
from graphprune.backends.search import Search
from graphprune.runtime.resources import Resources
from tests.oracles import Perceptron, brute_force_distance

X = np.array([0.3, 0.6, 0.5], np.float32)
SEED, WIDTHS = 0, [3, 5, 3, 2]


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Perceptron:
    """A small question, and a search that does nothing but say that it is there."""

    def run(self: Search, interval: DistanceInterval, resources: Resources) -> None:
        interval.unstable = 8
        interval.report("nothing", always=True)

    monkeypatch.setattr(Search, "run", run)
    monkeypatch.setattr("graphprune.evaluate.distance.first_attempt", lambda *_: None)
    monkeypatch.setattr(race, "AFTER", -1.0)
    return Perceptron.random(np.random.default_rng(SEED), WIDTHS)


def anchor_of(net: Perceptron) -> gp.Anchor:
    return gp.Anchor(X, int(np.argmax(net.logits(X.astype(float)))))


@pytest.mark.parametrize("killed", [False, True])
def test_what_scip_finds_is_taken_up(
    killed: bool, net: Perceptron, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    anchor = anchor_of(net)
    expected = brute_force_distance(net, X.astype(float), anchor.label, 0.0, 1.0)
    assert np.isfinite(expected)
    races: list[Race] = []
    before = Race._begin

    def begin(self: Race) -> None:
        before(self)
        races.append(self)
        assert self._helper is not None
        if killed:
            os.kill(self._helper.process.pid, signal.SIGKILL)

    asked: list[str] = []
    attempt = choose.attempt

    def tried(solver: str, interval: DistanceInterval, resources: Resources) -> None:
        asked.append(solver)
        attempt(solver, interval, resources)

    monkeypatch.setattr(choose, "attempt", tried)
    monkeypatch.setattr(Race, "_begin", begin)
    result = gp.distance(gp.from_proto(net.model()), anchor, workers=2, time_limit=60)
    assert (result.status, len(races)) == ("exact", 1)
    assert result.lower == pytest.approx(expected, rel=1e-4, abs=1e-6)
    # Killed, SCIP has its turn after the search.
    assert asked == (["search", "scip"] if killed else ["search"])
    assert races[0]._helper is not None
    assert races[0]._helper.dead
    assert ("SCIP beside the search failed: its process was killed" in caplog.text) == killed


@pytest.mark.parametrize(("workers", "record"), [(1, False), (2, True)])
def test_no_race_for_certificates_or_a_single_process(
    workers: int, record: bool, net: Perceptron, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Race, "_begin", lambda _: pytest.fail("no race was asked for"))
    problem = DistanceProblem(gp.from_proto(net.model()), anchor_of(net), gp.Domain(), 1.0)
    interval = DistanceInterval(problem, record=record)
    with Race(interval, Resources(workers=workers)):
        Search().run(interval, Resources())
    assert interval.poll is None
