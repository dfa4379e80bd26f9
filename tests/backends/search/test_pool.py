"""The search by several processes: the answers of the serial one, whatever happens to them."""

import os
import pickle
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import Ledger, Limits, Problem
from graphprune.backends.relaxation.arrays import with_own_bounds
from graphprune.backends.search import crew, parcel, pool, rung
from graphprune.backends.search.node import TreeNode
from graphprune.backends.search.pool import Pool, Team
from graphprune.backends.search.rung import climb
from graphprune.backends.trace import Path
from graphprune.evaluate.distance import Distance
from graphprune.progress import Interrupted
from tests.backends.relaxation.subproblems import subproblem
from tests.backends.test_trace import _examine, _splits
from tests.oracles import Perceptron


@pytest.fixture(scope="module")
def workers() -> Iterator[Pool]:
    """Two workers, ready, that are given even the smallest trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_kept", None)
        patch.setattr(pool, "HARD", 0.0)
        patch.setattr(crew, "WORTH", 0)
        ours = pool._pool()
        await_all(ours)
        yield ours
        pool._end()


def await_all(ours: Pool) -> None:
    ours.start(2)
    until = monotonic() + 60.0
    while len(ours.idle) < 2 and monotonic() < until:
        ours.hear(1.0)
    assert len(ours.idle) == 2


@pytest.fixture
def ready(workers: Pool) -> Pool:
    """The same after what another test did to them."""
    if pool._kept is not workers:
        pool._end()
        pool._kept = workers
    workers.broken = ""
    for helper in workers.helpers:
        if workers.jobs.get(helper):
            helper.kill()  # still at what another test left it with
    await_all(workers)
    return workers


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of everything that is lent."""
    kinds: list[str] = []
    before = Team.lend

    def lend(self: Team, helper: object, kind: str, *rest: object) -> None:
        kinds.append(kind)
        before(self, helper, kind, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Team, "lend", lend)
    return kinds


@dataclass(frozen=True, eq=False)
class Hard:
    """A rung with a tree of a hundred cases after cuts."""

    network: gp.Network
    anchor: gp.Anchor
    radius: float

    def ledger(self, *, record: bool = False) -> Ledger:
        return Ledger(Problem(self.network, self.anchor, gp.Domain(), 1.0), record=record)


def labelled(seed: int, widths: list[int]) -> tuple[gp.Network, gp.Anchor]:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, widths)
    x = rng.uniform(0.1, 0.9, widths[0]).astype(np.float32)
    return gp.from_proto(net.model()), gp.Anchor(x, int(np.argmax(net.logits(x.astype(float)))))


@pytest.fixture
def hard(monkeypatch: pytest.MonkeyPatch) -> Hard:
    monkeypatch.setattr(rung, "NODES", (np.inf,))
    monkeypatch.setattr(rung, "CUTS", (3,))
    return Hard(*labelled(0, [8, 30, 30, 4]), radius=0.3133)


@settings(max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from([[3, 8, 8, 3], [8, 20, 20, 4]]))
def test_workers_agree_with_the_serial_search(ready: Pool, seed: int, widths: list[int]) -> None:
    network, anchor = labelled(seed, widths)
    one = gp.distance(network, anchor, solver="search", time_limit=60)
    two = gp.distance(network, anchor, solver="search", workers=2, time_limit=60)
    assert (one.status, one.certified) == (two.status, two.certified)
    assert one.lower == pytest.approx(two.lower, rel=1e-4, abs=1e-6)
    if one.upper is not None:
        assert two.upper is not None
        assert max(one.lower, two.lower) <= min(one.upper, two.upper)


def test_the_same_tree_and_a_whole_trace(ready: Pool, lent: list[str], hard: Hard) -> None:
    serial = climb(hard.ledger(), Limits(), hard.radius, 0)
    ledger = hard.ledger(record=True)
    found = climb(ledger, Limits(workers=2), hard.radius, 0)
    assert lent.count("prepare") > 1
    assert lent.count("grow") > 1
    assert found.complete
    assert found.radius == serial.radius == hard.radius
    assert serial.nodes / 2 < found.nodes < 2 * serial.nodes
    assert ledger.trace is not None
    _examine(ledger.trace, hard.network, hard.anchor)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGKILL, "prepare"), (signal.SIGKILL, "grow"), (signal.SIGSTOP, "grow")],
)
def test_a_worker_that_dies_or_hangs(
    number: int, kind: str, ready: Pool, lent: list[str], hard: Hard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    victim = ready.helpers[0]
    before = Pool.begin

    def begin(self: Pool, helper: object) -> int:
        if helper is victim and kind in lent:
            os.kill(victim.process.pid, number)
        return before(self, helper)  # type: ignore[arg-type]

    monkeypatch.setattr(Pool, "begin", begin)
    ledger = hard.ledger(record=True)
    limits = Limits(monotonic() + (60.0 if number == signal.SIGKILL else 1.5), workers=2)
    found = climb(ledger, limits, hard.radius, 0)
    assert found.complete == (number == signal.SIGKILL)
    assert 0.0 <= found.radius <= hard.radius
    if found.radius > 0.0:
        assert ledger.trace is not None
        _examine(ledger.trace, hard.network, hard.anchor)


def test_a_worker_that_raises_leaves_the_rest_to_this_process(
    ready: Pool, lent: list[str], hard: Hard, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    # A class that the targets do not have.
    wrong = parcel.Parcel((), ((77, -1, (0, ()), {}),))
    monkeypatch.setattr(crew, "pack", lambda *_: wrong)
    found = climb(hard.ledger(), Limits(workers=2), hard.radius, 0)
    assert found.complete
    assert 1 <= lent.count("grow") <= 2
    assert "KeyError: 77" in caplog.text


def test_ctrl_c_keeps_the_interval_and_ends_busy_workers(
    ready: Pool, lent: list[str], hard: Hard
) -> None:
    def press(message: str) -> None:
        if "grow" in lent:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        gp.distance(hard.network, hard.anchor, workers=2, solver="search", progress=press)
    found = stopped.value.found
    assert isinstance(found, Distance)
    assert found.upper is not None
    assert 0.0 < found.lower < found.upper
    # Those that had something in hand are gone, with the pool.
    assert all(helper.dead or not ready.jobs.get(helper) for helper in ready.helpers)


@pytest.mark.parametrize("executable", ["/nowhere/python", "/bin/false"])
def test_workers_that_cannot_be_started_are_done_without(
    executable: str, hard: Hard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_kept", None)
    monkeypatch.setattr(pool, "HARD", 0.0)
    monkeypatch.setattr("sys.executable", executable)
    assert climb(hard.ledger(), Limits(workers=2), 0.9 * hard.radius, 0).complete


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
        nodes.append(TreeNode(own, -1.0, 0.1, 0.2, state, *singles, 3, path, 2))
    # Lent: every case begins its own path; then on its way back.
    sent = pickle.loads(
        pickle.dumps(parcel.pack(nodes, roots, [(i, ()) for i in range(count)]))
    )  # fmt: skip
    theirs = pickle.loads(pickle.dumps(roots))
    origins = parcel.Paths([parcel.origin(i) for i in range(count)])
    there = list(parcel.unpack(sent, theirs, origins))
    for node in there:
        for row in range(1500):  # deeper than pickles may nest
            node.path = node.path, row, 1
    ways = [parcel.way_of(node.path) for node in there]
    back = pickle.loads(pickle.dumps(parcel.pack(there, theirs, ways)))
    found = list(parcel.unpack(back, roots, parcel.Paths([node.path for node in nodes])))
    for old, new in zip(nodes, found, strict=True):
        assert _splits(new.path) == [(r, 1) for r in range(1500)][::-1] + _splits(old.path)
        assert (new.case is roots[0]) == (old.case is roots[0])
        assert np.array_equal(new.case.rows.lower, old.case.rows.lower)
        assert np.array_equal(new.case.box.upper, old.case.box.upper)
        assert new.case.rows.values is roots[0].rows.values
        for name in ("bound", "radius", "estimate", "since_bounds", "since_lp"):
            assert getattr(new, name) == getattr(old, name)
        for name in ("phases", "slopes", "cut_weights"):
            assert np.array_equal(getattr(new, name), getattr(old, name))
