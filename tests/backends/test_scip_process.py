"""SCIP's process may raise, be killed, starve or hang: the interval stays valid, others go on."""

import os
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

import graphprune as gp
from graphprune.attacks.confirm import confirm
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.scip import Scip, backend, process, solve
from graphprune.backends.scip.process import SolveStatus
from graphprune.clock import processor_seconds
from graphprune.ir import Query
from graphprune.runtime.resources import Resources


@pytest.fixture(autouse=True)
def own_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other test's worker, and none left for others."""
    monkeypatch.setattr(process, "_kept", None)


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Send a signal to SCIP's process as soon as it has its first program."""

    def arrange(number: int) -> None:
        before = process._ScipWorker.send
        done: list[int] = []

        def send(self: process._ScipWorker, *message: object) -> None:
            before(self, *message)
            if message[0] == "solve" and not done:
                done.append(self.process.pid)
                os.kill(self.process.pid, number)

        monkeypatch.setattr(process._ScipWorker, "send", send)

    return arrange


def interval_of(network: gp.Network, anchor: gp.Anchor, proof: gp.Certificate) -> DistanceInterval:
    interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 0.2))
    interval.raise_lower(proof.radius, certified=True)
    return interval


@pytest.fixture
def hard(mnist_a: gp.Network, images: list[gp.Anchor]) -> DistanceInterval:
    """What SCIP does not solve in minutes."""
    return interval_of(mnist_a, images[0], gp.certify(mnist_a, images[0], upper=0.05))


def test_killed(
    hard: DistanceInterval, during: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    known = hard.lower
    during(signal.SIGKILL)
    # Killed on the first target, stopped by the clock on the others.
    Scip().run(hard, Resources(time.monotonic() + 4.0))
    assert "its process was killed by signal 9 (out of memory?)" in caplog.text
    assert hard.lower >= hard.proven == known
    assert hard.lower <= hard.cutoff
    assert not hard.closed


def test_killed_inside_a_distance(
    tiny: gp.Network, images: list[gp.Anchor], during: Callable[[int], None],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    expected = gp.distance(tiny, images[0], solver="search")
    during(signal.SIGKILL)
    result = gp.distance(tiny, images[0], solver="scip", time_limit=60)
    assert expected.upper is not None
    assert result.upper is not None
    assert result.lower <= expected.upper * (1 + 1e-5)
    assert result.upper >= expected.lower


def test_starved(hard: DistanceInterval, caplog: pytest.LogCaptureFixture) -> None:
    def press(message: str) -> None:
        if "memory" in caplog.text:  # one target is enough
            raise KeyboardInterrupt

    known = hard.lower
    hard.progress = press
    with pytest.raises(KeyboardInterrupt):
        Scip().run(hard, Resources(memory=48 << 20))
    assert "memory" in caplog.text
    assert hard.proven == known <= hard.lower
    assert not hard.closed


def test_hanging(hard: DistanceInterval, during: Callable[[int], None]) -> None:
    """A stopped process never answers: who waits for it would wait for ever."""
    during(signal.SIGSTOP)
    Scip().run(hard, Resources(time.monotonic() + 2.0))
    assert process._kept is None
    assert not hard.closed


@pytest.mark.parametrize(
    ("place", "name", "value", "said"),
    [
        (solve, "OPTIONS", {"no/such/parameter": 1}, "Not a valid parameter"),
        (process, "SERVER", process.SERVER.with_name("missing.py"), "ended with code 2"),
    ],
)
def test_raising(
    place: object, name: str, value: object, said: str, tiny: gp.Network,
    images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(place, name, value)
    result = gp.distance(tiny, images[1], solver="scip", time_limit=60)
    assert caplog.text.count(said) == 1
    assert (result.status, result.certified) == ("interval", True)
    assert result.upper is not None
    assert 0 < result.lower <= result.upper
    # `auto` starts with the search, which does not care.
    assert gp.distance(tiny, images[1], time_limit=60).status == "exact"


def test_an_interpreter_that_cannot_be_started(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    result = gp.distance(tiny, images[1], solver="scip", time_limit=60)
    assert "cannot be started" in caplog.text
    assert result.status == "interval"


def test_ctrl_c_keeps_what_scip_had_and_ends_its_process(hard: DistanceInterval) -> None:
    def press(message: str) -> None:
        if "SCIP" in message:
            raise KeyboardInterrupt

    hard.progress = press
    with pytest.raises(KeyboardInterrupt):
        Scip().run(hard, Resources())
    assert process._kept is not None
    assert process._kept.dead
    # The next solve has a new one.
    problem = hard.problem
    again = DistanceInterval(DistanceProblem(problem.network, problem.anchor, problem.domain, 0.2))
    Scip().run(again, Resources(time.monotonic() + 1.0))
    assert again.lower <= again.cutoff


def test_a_listener_that_has_heard_enough_ends_the_solve(
    hard: DistanceInterval, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[solve.TargetResult] = []

    def solve_program(program, *, hear, **others):  # type: ignore[no-untyped-def]
        def go_on(one: SolveStatus) -> bool:
            return hear(one) and one.relaxed is None

        result = solve.solve_program(program, hear=go_on, **others)
        results.append(result)
        raise RuntimeError("seen")

    monkeypatch.setattr(backend, "solve_program", solve_program)
    with pytest.raises(RuntimeError, match="seen"):
        Scip().run(hard, Resources(time.monotonic() + 60.0))
    assert results[0].status == "userinterrupt"
    assert process._kept is not None
    assert not process._kept.dead, "the same process solves the next program"


def test_a_much_closer_point_ends_the_program_for_one_of_its_ball(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor = images[0]
    expected = gp.distance(tiny, anchor, solver="search")
    assert expected.witness is not None
    assert expected.upper is not None
    reach = gp.Domain().search_limit(anchor.x)
    interval = DistanceInterval(DistanceProblem(tiny, anchor, gp.Domain(), reach))
    # As far as a poor attack's: further on through the nearest point.
    start = anchor.x.astype(np.float64)
    step = expected.witness.x.astype(np.float64) - start
    interval.witness = confirm(Query(tiny, anchor), (start + 1.3 * step)[None])
    assert interval.upper > 1.1 * expected.upper
    cutoffs: list[float] = []

    def solve_program(program, *, cutoff, **others):  # type: ignore[no-untyped-def]
        cutoffs.append(cutoff)
        return solve.solve_program(program, cutoff=cutoff, **others)

    monkeypatch.setattr(backend, "solve_program", solve_program)
    Scip().run(interval, Resources(time.monotonic() + 60.0))
    assert interval.closed
    assert interval.upper == pytest.approx(expected.upper, rel=2e-4)
    assert interval.lower <= expected.upper
    assert cutoffs[0] > 1.1 * expected.upper > (1.0 + backend.SMALLER) * cutoffs[-1]


def test_its_time_is_counted(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    before, own = processor_seconds(), time.process_time()
    gp.distance(tiny, images[1], solver="scip", time_limit=60)
    assert processor_seconds() - before > time.process_time() - own


def test_one_helper_serves_many_solves(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    gp.distance(tiny, images[1], solver="scip", time_limit=60)
    worker = process._kept
    assert worker is not None
    gp.distance(tiny, images[1], solver="scip", radius=0.05, time_limit=60)
    assert process._kept is worker
    assert not worker.dead


def test_messages_are_plain(tiny: gp.Network) -> None:
    """What travels to the worker must not need graphprune there."""
    import pickle

    from graphprune.backends.relaxation.condensed import bounds_of, condense
    from graphprune.backends.scip.formulate import formulate
    from graphprune.bounds import Boxes, pre_activation_bounds
    from graphprune.region import Ball

    ball = Ball(np.full(tiny.input_shape, 0.3), 0.02)
    bounds = bounds_of(pre_activation_bounds(tiny, Boxes.of(ball)))
    row = np.eye(tiny.classes)[0] - np.eye(tiny.classes)[1]
    program = formulate(condense(tiny, bounds, ball), ball, row)
    assert b"graphprune" not in pickle.dumps(program.message())
