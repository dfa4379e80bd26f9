"""The search by several processes: the answers of the serial one, whatever happens to them."""

import os
import pickle
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.relaxation.arrays import with_own_bounds
from graphprune.backends.search import process_pool, scheduler, work_units, worker_group
from graphprune.backends.search.node import TreeNode
from graphprune.backends.search.outcome import RadiusStep
from graphprune.backends.search.process_pool import ProcessPool
from graphprune.backends.search.radius_step import prove_radius
from graphprune.backends.search.settings import EffortLevel, SearchSettings, StepSettings
from graphprune.backends.search.worker_group import WorkerGroup
from graphprune.backends.trace import Path
from graphprune.evaluate.distance import Distance
from graphprune.evaluate.settings import Settings
from graphprune.progress import Interrupted
from graphprune.runtime.process import WorkerProcess
from graphprune.runtime.resources import Resources, using
from tests.backends.relaxation.subproblems import subproblem
from tests.backends.test_trace import _splits, examine
from tests.oracles import Perceptron

EFFORT = SearchSettings(step=StepSettings((EffortLevel(np.inf, cuts=3),)))


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPool]:
    """Two workers, ready, that are given even the smallest trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_pool, "_kept", None)
        patch.setattr(worker_group, "HARD", 0.0)
        patch.setattr(scheduler, "WORTH", 0)
        ours = process_pool.kept_pool()
        await_all(ours)
        yield ours
        process_pool.end_pool()


def await_all(ours: ProcessPool) -> None:
    ours.start(2)
    until = monotonic() + 60.0
    while len(ours.idle) < 2 and monotonic() < until:
        ours.hear(1.0)
    assert len(ours.idle) == 2


@pytest.fixture
def ready(workers: ProcessPool) -> ProcessPool:
    """The same after what another test did to them."""
    if process_pool._kept is not workers:
        process_pool.end_pool()
        process_pool._kept = workers
    workers.broken = ""
    for worker in workers.workers:
        if workers.jobs.get(worker):
            worker.kill()  # still at what another test left it with
    await_all(workers)
    return workers


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of everything that is lent."""
    kinds: list[str] = []
    before = WorkerGroup.lend

    def lend(self: WorkerGroup, worker: object, kind: str, *rest: object) -> None:
        kinds.append(kind)
        before(self, worker, kind, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(WorkerGroup, "lend", lend)
    return kinds


@dataclass(frozen=True, eq=False)
class Hard:
    """A radius step with a tree of a hundred cases after cuts."""

    network: gp.Network
    anchor: gp.Anchor
    radius: float

    def interval(self, *, record: bool = False) -> DistanceInterval:
        return DistanceInterval(
            DistanceProblem(self.network, self.anchor, gp.Domain(), 1.0), record=record
        )

    def prove(
        self, interval: DistanceInterval, resources: Resources, share: float = 1.0
    ) -> RadiusStep:
        return prove_radius(interval, resources, share * self.radius, 0, settings=EFFORT)


def labelled(seed: int, widths: list[int]) -> tuple[gp.Network, gp.Anchor]:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, widths)
    x = rng.uniform(0.1, 0.9, widths[0]).astype(np.float32)
    return gp.from_proto(net.model()), gp.Anchor(x, int(np.argmax(net.logits(x.astype(float)))))


@pytest.fixture
def hard(monkeypatch: pytest.MonkeyPatch) -> Hard:
    def prove(*args: Any, settings: SearchSettings, **rest: Any) -> RadiusStep:
        return prove_radius(*args, settings=EFFORT, **rest)

    monkeypatch.setattr("graphprune.backends.search.solver.prove_radius", prove)
    return Hard(*labelled(0, [8, 30, 30, 4]), radius=0.3133)


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from([[3, 8, 8, 3], [8, 20, 20, 4]]))
def test_workers_agree_with_the_serial_search(
    ready: ProcessPool, seed: int, widths: list[int]
) -> None:
    network, anchor = labelled(seed, widths)
    one = gp.distance(network, anchor, solver="search", time_limit=60)
    two = gp.distance(network, anchor, solver="search", workers=2, time_limit=60)
    assert (one.status, one.certified) == (two.status, two.certified)
    assert one.lower == pytest.approx(two.lower, rel=1e-4, abs=1e-6)
    if one.upper is not None:
        assert two.upper is not None
        assert max(one.lower, two.lower) <= min(one.upper, two.upper)


def test_the_same_tree_and_a_whole_trace(ready: ProcessPool, lent: list[str], hard: Hard) -> None:
    serial = hard.prove(hard.interval(), Resources())
    interval = hard.interval(record=True)
    found = hard.prove(interval, Resources(workers=2))
    assert lent.count("tighten") > 1
    assert lent.count("expand") > 1
    assert found.complete
    assert found.radius == serial.radius == hard.radius
    assert serial.nodes / 2 < found.nodes < 2 * serial.nodes
    assert interval.trace is not None
    examine(interval.trace, hard.network, hard.anchor)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGKILL, "tighten"), (signal.SIGKILL, "expand"), (signal.SIGSTOP, "expand")],
)
def test_a_worker_that_dies_or_hangs(
    number: int, kind: str, ready: ProcessPool, lent: list[str], hard: Hard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    victim = ready.workers[0]
    before = ProcessPool.begin

    def begin(self: ProcessPool, worker: WorkerProcess) -> int:
        if worker is victim and kind in lent:
            os.kill(victim.process.pid, number)
        return before(self, worker)

    monkeypatch.setattr(ProcessPool, "begin", begin)
    interval = hard.interval(record=True)
    resources = Resources(monotonic() + (60.0 if number == signal.SIGKILL else 1.5), workers=2)
    found = hard.prove(interval, resources)
    assert found.complete == (number == signal.SIGKILL)
    assert 0.0 <= found.radius <= hard.radius
    if found.radius > 0.0:
        assert interval.trace is not None
        examine(interval.trace, hard.network, hard.anchor)


def test_a_worker_that_raises_leaves_the_rest_to_this_process(
    ready: ProcessPool, lent: list[str], hard: Hard, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    # A class that the targets do not have.
    wrong = work_units.SerialisedNodes((), ((77, -1, (0, ()), {}),))
    monkeypatch.setattr(scheduler, "pack", lambda *_: wrong)
    found = hard.prove(hard.interval(), Resources(workers=2))
    assert found.complete
    assert 1 <= lent.count("expand") <= 2
    assert "KeyError: 77" in caplog.text


def test_ctrl_c_keeps_the_interval_and_ends_busy_workers(
    ready: ProcessPool, lent: list[str], hard: Hard
) -> None:
    def press(message: str) -> None:
        if "expand" in lent:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        gp.distance(hard.network, hard.anchor, workers=2, solver="search", progress=press)
    found = stopped.value.found
    assert isinstance(found, Distance)
    assert found.upper is not None
    assert 0.0 < found.lower < found.upper
    # Those that had something in hand are gone, with the pool.
    assert all(worker.dead or not ready.jobs.get(worker) for worker in ready.workers)


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false"])
def test_workers_that_cannot_be_started_are_done_without(
    executable: str, hard: Hard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_pool, "_kept", None)
    monkeypatch.setattr(worker_group, "HARD", 0.0)
    monkeypatch.setattr("sys.executable", executable)
    assert hard.prove(hard.interval(), Resources(workers=2), 0.9).complete


def test_workers_get_the_memory_that_resources_name(
    hard: Hard, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def start(arguments: list[str], _: object) -> None:
        asked.append(arguments)
        raise OSError("none today")

    monkeypatch.setattr(process_pool, "_kept", None)
    monkeypatch.setattr(process_pool, "WorkerProcess", start)
    monkeypatch.setattr(worker_group, "HARD", 0.0)
    with using(Resources(worker_memory=123)):
        assert Settings(workers=2).resources().worker_memory == 123
    assert hard.prove(hard.interval(), Resources(workers=2, worker_memory=123), 0.9).complete
    assert asked == [["-m", process_pool.MODULE, "123"]]
    first = process_pool.kept_pool(123)
    assert process_pool.kept_pool(123) is first
    assert process_pool.kept_pool(None) is not first


@settings(max_examples=10)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_cases_travel_unchanged(seed: int, count: int) -> None:
    roots = [subproblem(seed, [4, 6, 4, 4, 3], 0.3)]
    rng = np.random.default_rng(seed)
    m = roots[0].neurons
    tighter = with_own_bounds(roots[0].relaxation)
    tighter.rows.lower[:] *= rng.uniform(0.5, 1.0, m)
    case = replace(roots[0], relaxation=tighter)
    nodes = []
    for _ in range(count):
        path: Path = None
        for _ in range(int(rng.integers(0, 5))):
            path = path, int(rng.integers(m + 1)), int(rng.choice([1, -1]))
        state = rng.choice([0, 1, -1], m).astype(np.int8)
        singles = rng.uniform(0, 1, m).astype(np.float32), np.zeros(m, np.float32)
        own = case if rng.uniform() < 0.5 else roots[0]
        nodes.append(TreeNode(own, 0.1, 0.2, state, *singles, 3, path, 2))
    # Lent: every case begins its own path; then on its way back.
    sent = pickle.loads(
        pickle.dumps(work_units.pack(nodes, roots, [(i, ()) for i in range(count)]))
    )  # fmt: skip
    theirs = pickle.loads(pickle.dumps(roots))
    origins = work_units.PathTable([work_units.origin(i) for i in range(count)])
    there = list(work_units.unpack(sent, theirs, origins))
    for node in there:
        for row in range(1500):  # deeper than pickles may nest
            node.path = node.path, row, 1
    paths = [work_units.relative_path(node.path) for node in there]
    back = pickle.loads(pickle.dumps(work_units.pack(there, theirs, paths)))
    found = list(
        work_units.unpack(back, roots, work_units.PathTable([node.path for node in nodes]))
    )
    for old, new in zip(nodes, found, strict=True):
        assert _splits(new.path) == [(r, 1) for r in range(1500)][::-1] + _splits(old.path)
        assert (new.case is roots[0]) == (old.case is roots[0])
        assert np.array_equal(new.case.rows.lower, old.case.rows.lower)
        assert np.array_equal(new.case.box.upper, old.case.box.upper)
        assert new.case.rows.values is roots[0].rows.values
        for name in ("radius", "estimate", "since_bounds", "since_lp"):
            assert getattr(new, name) == getattr(old, name)
        for name in ("phases", "slopes", "cut_weights"):
            assert np.array_equal(getattr(new, name), getattr(old, name))
