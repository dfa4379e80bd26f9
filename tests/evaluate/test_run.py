"""Runs: resumed, shared by processes, retried; settings and files that changed are refused."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphprune as gp
from graphprune.attacks.attack import Attack
from graphprune.cli.app import run
from graphprune.evaluate import run as module
from graphprune.evaluate.archive import of_outcome, read_run
from graphprune.evaluate.estimates.nearest import Nearest
from graphprune.evaluate.executors import Inline, PoolExecutor, work
from graphprune.evaluate.reading import read_document
from graphprune.evaluate.results import Job, Known, Outcome, Result, Task
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.settings import Metric, Settings
from graphprune.evaluate.store import Store
from graphprune.evaluate.tasks import perform
from graphprune.progress import Interval
from graphprune.report.rows import as_csv
from graphprune.report.table import causes, results_table
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources
from tests.conftest import MODELS

TOY, POINTS = str(MODELS / "toy-2d.onnx"), str(MODELS / "toy-2d-anchors.npz")
FAST = Settings(metrics=("adv", "rob"), effort="fast")


@pytest.fixture(scope="module")
def toy() -> gp.Network:
    return gp.load(TOY)


@pytest.fixture(scope="module")
def job(toy: gp.Network) -> Job:
    return Job(toy, gp.load_anchors(POINTS, toy))


def numbers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a document without their times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if "seconds" not in k}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    records: list[dict[str, Any]] = timeless(document["anchors"])
    return records


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, job: Job) -> None:
    first = Job(job.network, job.anchors[:4])
    whole = evaluate([job], FAST)
    evaluate([first], FAST, run_dir=tmp_path)
    asked: list[str] = []

    class Watch(module.Unwatched):
        def begin(self, tasks: int) -> None:
            asked.append(str(tasks))

    resumed = evaluate([job], FAST, run_dir=tmp_path, watch=Watch())
    assert numbers(resumed.documents[0]) == numbers(whole.documents[0])
    with Store(tmp_path, FAST) as store:
        done = store._db.execute(
            "SELECT text, COUNT(*) FROM events WHERE kind = 'finished' GROUP BY text"
        ).fetchall()
    assert len(done) == 2 * len(job.anchors)
    assert all(count == 1 for _, count in done)
    for (_, i, m, w), (_, j, n, v) in zip(resumed.keyed_points, whole.keyed_points, strict=True):
        assert (i, m) == (j, n)
        assert np.array_equal(w.x, v.x)


@pytest.mark.parametrize(
    ("metric", "text", "effort"), [("adv", "attack", "standard"), ("rob", "certified", "fast")]
)
def test_what_ctrl_c_ended_early_is_kept_and_done_again(
    metric: str, text: str, effort: Any, tmp_path: Path, tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    settings = Settings(metrics=(metric,), effort=effort)
    job = Job(tiny, images[:2])
    (whole, second) = evaluate([job], settings).documents[0]["anchors"]

    class Watch(module.Unwatched):
        def running(self, place: int, total: int, task: Task, said: str) -> None:
            if said.startswith(text) and said != f"{text} 0.00000":
                os.kill(os.getpid(), signal.SIGINT)

    stopped = evaluate([job], settings, run_dir=tmp_path, watch=Watch())
    assert stopped.interrupted
    (record,) = stopped.documents[0]["anchors"]
    assert record["interrupted"]
    found, best = record[f"d_{metric}"]["value"], whole[f"d_{metric}"]["value"]
    if metric == "adv":
        assert best < found
        ((_, _, _, witness),) = stopped.keyed_points
        assert witness.distance == found
        logits = run_original(tiny, witness.x[None])[0]
        assert logits[witness.target] >= logits[images[0].label]
    else:
        assert 0 < found < best
    resumed = evaluate([job], settings, run_dir=tmp_path)
    assert numbers(resumed.documents[0]) == numbers({"anchors": [whole, second]})


def test_changes_that_can_change_a_number_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    base = ["evaluate", TOY, "--anchors", POINTS, "--metrics", "adv", "--out", str(out)]
    assert run([*base, "--limit", "2", "--quiet"]) == 0
    assert run([*base, "--limit", "3", "--workers", "2", "--json", str(tmp_path / "r.json")]) == 0
    assert len(json.loads((tmp_path / "r.json").read_text())["anchors"]) == 3
    capsys.readouterr()
    assert run([*base, "--seed", "1"]) == 2
    assert "other settings (seed 0 -> 1)" in capsys.readouterr().err
    with np.load(POINTS) as data:
        np.savez(tmp_path / "moved.npz", x=data["x"] + 1e-3, y=data["y"])
    moved = [*base[:3], str(tmp_path / "moved.npz"), *base[4:], "--limit", "1"]
    assert run(moved) == 2
    assert "anchor 0 has changed" in capsys.readouterr().err
    assert run([*moved, "--new", "--quiet"]) == 0
    kept = list(out.glob("run-*.sqlite"))
    assert len(kept) == 1, "the old run is set aside, not deleted"
    with sqlite3.connect(kept[0]) as db:
        assert db.execute("SELECT COUNT(*) FROM results").fetchone() == (3,)


def bounds_of(found: gp.Distance) -> tuple[float, float | None, str]:
    return (found.lower, found.upper, found.status)


def bounds(outcome: Outcome) -> list[tuple[float, float | None, str]]:
    found = [record["d_bnd"] for record in outcome.documents[0]["anchors"]]
    return [(d["lower"], d["upper"], d["status"]) for d in found]


def test_more_time_goes_on_with_open_intervals_only(
    tmp_path: Path, job: Job, mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    easy, hard = Job(job.network, job.anchors[:1]), Job(mnist_a, images[:1])
    none = Settings(metrics=("bnd",), time_limit=0.0)
    exact = evaluate([easy], replace(none, time_limit=None), run_dir=tmp_path)
    task = Task(mnist_a.source.sha256, images[0].index, Metric.BND)
    attack = gp.attack(mnist_a, images[0], effort="fast")
    assert attack.distance is not None
    before = gp.Distance(0.01, attack.distance, "interval", attack.witness, True, 7, 1.0)
    assert bounds(evaluate([hard], none, run_dir=tmp_path)) != [bounds_of(before)]
    with Store(tmp_path, none) as store:
        store.put(task, Result(before))
    # Less is no reason to do anything, and what is there is more than what is asked for.
    assert bounds(evaluate([hard], none, run_dir=tmp_path)) == [bounds_of(before)]
    longer = replace(none, time_limit=0.001, effort="thorough")
    grown = evaluate([easy, hard], longer, run_dir=tmp_path)
    assert bounds(grown) == bounds(exact)
    found = grown.documents[1]["anchors"][0]["d_bnd"]
    assert found["lower"] >= before.lower
    assert found["upper"] <= attack.distance
    assert found["seconds"] > before.seconds
    (kept, _) = read_run(tmp_path)
    assert kept.document.settings["time_limit"] is None
    assert kept.document.settings["effort"] == "thorough"


def test_metrics_estimates_and_anchors_extend_a_run(tmp_path: Path, job: Job) -> None:
    two = Job(job.network, job.anchors[:2])
    evaluate([two], replace(FAST, metrics=("adv",)), run_dir=tmp_path)
    evaluate([two], replace(FAST, metrics=("adv", "rob")), run_dir=tmp_path)
    whole = replace(FAST, metrics=("adv", "rob"), estimates=("linearize-secant{layers=1}",))
    grown = evaluate([job], whole, run_dir=tmp_path)
    assert numbers(grown.documents[0]) == numbers(evaluate([job], whole).documents[0])
    with sqlite3.connect(tmp_path / "run.sqlite") as db:
        done = [text for (text,) in db.execute("SELECT text FROM events WHERE kind = 'finished'")]
    assert len(done) == len(set(done)), "nothing is done twice"
    (kept,) = read_run(tmp_path)
    assert list(kept.document.settings["metrics"]) == ["adv", "rob"]
    assert list(kept.document.settings["estimates"]) == list(whole.estimates)


def test_a_changed_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(Path(TOY).read_bytes())
    args = ["evaluate", str(model), "--anchors", POINTS, "--metrics", "adv", "--limit", "1",
            "--out", str(tmp_path / "run"), "--quiet"]  # fmt: skip
    assert run(args) == 0
    assert run(["opt", str(model), "-o", str(model), "--for", "verifier", "--quiet"]) == 0
    assert run(args) == 2
    assert "m.onnx has changed since this run began" in capsys.readouterr().err


def test_two_processes_share_a_run(tmp_path: Path, job: Job) -> None:
    command = [
        sys.executable, "-m", "graphprune", "evaluate", TOY, "--anchors", POINTS,
        "--metrics", "adv,rob", "--effort", "fast", "--out", str(tmp_path / "run"), "--json",
    ]  # fmt: skip
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    both = [
        subprocess.Popen([*command, str(f)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for f in files
    ]
    assert [p.wait(timeout=120) for p in both] == [0, 0]
    expected = numbers(evaluate([job], FAST).documents[0])
    assert [numbers(json.loads(f.read_text())) for f in files] == [expected, expected]
    with sqlite3.connect(tmp_path / "run" / "run.sqlite") as db:
        done = db.execute("SELECT text FROM events WHERE kind = 'finished'").fetchall()
    assert len(done) == len(set(done)) == 2 * len(job.anchors)


def test_a_claim_of_a_dead_process_is_given_up(tmp_path: Path, job: Job) -> None:
    task = Task(job.network.source.sha256, 0, Metric.ADV)
    with Store(tmp_path, FAST) as one, Store(tmp_path, FAST) as two:
        assert one.claim(task) == "mine"
        assert two.claim(task) == "taken"
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        one._db.execute("UPDATE claims SET pid = ?", (dead.pid,))
        assert two.claim(task) == "mine"
        # From another host only signs of life count.
        one._db.execute("UPDATE claims SET host = 'elsewhere', beat = 0")
        assert one.claim(task) == "mine"
        two.put(task, perform(job.network, job.anchors[0], task, FAST, Known()))
        assert one.claim(task) == "done"


def test_to_start_again_loses_no_run(tmp_path: Path, job: Job) -> None:
    task = Task(job.network.source.sha256, 0, Metric.ADV)
    with Store(tmp_path, FAST) as one:
        assert one.claim(task) == "mine"
        with (
            pytest.raises(gp.GraphpruneError, match="another process is at work"),
            Store(tmp_path, FAST, new=True),
        ):
            pass
        one.put(task, perform(job.network, job.anchors[0], task, FAST, Known()))
    for _ in range(2):  # within one second
        with Store(tmp_path, FAST, new=True) as other:
            assert other.get(task) is None
    aside = sorted(tmp_path.glob("run-*.sqlite"))
    assert len(aside) == 2
    kept = 0
    for file in aside:
        with sqlite3.connect(file) as db:
            kept += db.execute("SELECT count(*) FROM results").fetchone()[0]
    assert kept == 1


class Breaking(Inline):
    """Fails the first `times` tries of one anchor's attack as a killed worker does."""

    def __init__(self, networks: dict[str, gp.Network], times: int) -> None:
        super().__init__(networks, lambda *_: None)
        self.__dict__["left"] = times

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if args[1].index == 1 and args[0].name == "d_adv" and self.__dict__["left"]:
            self.__dict__["left"] -= 1
            future: Future[Any] = Future()
            future.set_exception(RuntimeError("gone"))
            return future
        return super().submit(fn, *args, **kwargs)


@pytest.mark.parametrize("times", [1, 2])
def test_a_task_whose_worker_died_is_tried_once_more_then_reported(
    job: Job, monkeypatch: pytest.MonkeyPatch, times: int, tmp_path: Path
) -> None:
    sha = job.network.source.sha256

    @contextmanager
    def breaking(*_: object) -> Any:
        yield Breaking({sha: job.network}, times)

    monkeypatch.setattr(module, "_executor", breaking)
    outcome = evaluate([Job(job.network, job.anchors[:3])], FAST, run_dir=tmp_path)
    records = outcome.documents[0]["anchors"]
    assert [r["status"] for r in records] == ["ok", "ok" if times == 1 else "error", "ok"]
    assert outcome.incomplete == (times == 2)
    if times == 2:
        assert "worker failed: RuntimeError: gone" in records[1]["message"]
        assert records[1]["d_rob"]["value"] > 0, "the other metrics of the anchor are kept"
        assert "interrupted" not in records[1]
        # It was the machine's fault: the same command tries again.
        monkeypatch.undo()
        again = evaluate([Job(job.network, job.anchors[:3])], FAST, run_dir=tmp_path)
        assert [r["status"] for r in again.documents[0]["anchors"]] == ["ok", "ok", "ok"]


def die(*_: object) -> None:
    os.kill(os.getpid(), 9)


def answer(*_: object) -> int:
    return 42


def test_a_killed_worker_costs_its_own_task_only() -> None:
    pool = PoolExecutor({}, Settings(workers=2), listener=lambda *_: None, memory=None, limit=60.0)
    try:
        futures = [pool.submit(f) for f in (answer, die, answer, die, answer)]
        results = []
        for future in futures:
            error = future.exception(timeout=60)
            results.append(future.result() if error is None else type(error).__name__)
    finally:
        pool.shutdown()
    assert results == [42, "ProcessExpired", 42, "ProcessExpired", 42]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_worker_without_a_task_ends_without_a_word(
    job: Job, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while a worker waits for work, and what comes to it afterwards."""
    sha = job.network.source.sha256
    models = {sha: Path(TOY).read_bytes()}
    pool = PoolExecutor(models, Settings(), listener=lambda *_: None, memory=None, limit=60.0)
    try:
        task: Any = (Task(sha, 0, Metric.ADV), job.anchors[0], Settings(), Known())
        assert isinstance(pool.submit(work, *task).result(timeout=60).found, Attack)
        time.sleep(0.3)  # until it waits again
        pool.break_off()
        assert isinstance(pool.submit(work, *task).exception(timeout=60), KeyboardInterrupt)
    finally:
        pool.shutdown()
    assert "Traceback" not in capfd.readouterr().err


def test_an_estimate_that_breaks_is_reported_in_every_table(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: Nearest, question: object) -> None:
        raise RuntimeError("a library's own error")

    monkeypatch.setattr(Nearest, "run", breaks)
    asked = replace(FAST, metrics=("adv", "bnd"), estimates=("nearest",))
    jobs = [Job(job.network, job.anchors[:1])]
    outcome = evaluate(jobs, asked)
    document = outcome.documents[0]
    (record,) = document["anchors"][0]["estimates"]
    assert (record["spec"], record["metric"], record["value"]) == ("nearest", "d_bnd", None)
    assert "a library's own error" in record["message"]
    assert results_table(read_document(document)).row_count == 2
    (why,) = causes(read_document(document))
    assert why.startswith("d_bnd by nearest, anchor 0: ")
    assert b"d_bnd by nearest" in as_csv(of_outcome(jobs, outcome))


def test_events_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["evaluate", TOY, "--anchors", POINTS, "--metrics", "adv", "--limit", "2"]
    assert run([*args, "--json-lines"]) == 0
    sha = gp.load(TOY).source.sha256
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [e["event"] for e in events if e["event"] != "progress"] == [
        "begin", "finished", "finished", "end",
    ]  # fmt: skip
    assert all(e["model"] == sha and e["index"] in (0, 1) for e in events if "task" in e)
    assert events[-1]["summaries"][0]["ok"] == 2


@pytest.mark.parametrize(
    ("workers", "anchors", "estimates", "side", "each"),
    [(1, 3, 0, 1, 1), (4, 1, 0, 1, 4), (8, 3, 0, 3, 2), (8, 1, 1, 3, 2), (2, 10, 1, 2, 1)],
)
def test_workers_are_shared_by_tasks_and_their_searches(
    workers: int, anchors: int, estimates: int, side: int, each: int, job: Job
) -> None:
    specs = tuple(f"linearize-secant{{layers={i + 1}}}" for i in range(estimates))
    settings = Settings(workers=workers, estimates=specs)
    some = module._Run(
        [Job(job.network, job.anchors[:anchors])], settings, None, module.Unwatched()
    )
    some.prepare()
    assert some.spread(True) == side
    assert some.own.workers == each
    assert some.settings.workers == workers


def test_the_search_of_a_single_anchor_gets_the_workers(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def distance(query: object, resources: Resources, *_: object) -> object:
        seen.append(resources.workers)
        raise KeyboardInterrupt

    monkeypatch.setattr("graphprune.evaluate.tasks.exact_distance", distance)
    settings = Settings(metrics=("bnd",), workers=3)
    outcome = evaluate([Job(job.network, job.anchors[:1])], settings)
    assert seen == [3]
    assert outcome.interrupted


@pytest.mark.parametrize("workers", [1, 2])
def test_searches_tell_their_interval(
    workers: int, mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    """Also from worker processes: every message names its task, and the proven end never falls."""
    heard: dict[Task, list[Interval]] = {}

    class Watch(module.Unwatched):
        def running(self, place: int, total: int, task: Task, said: str) -> None:
            assert (place, total) == (task.index + 1, 2)
            if isinstance(said, Interval):
                heard.setdefault(task, []).append(said)

    settings = Settings(metrics=("bnd",), time_limit=4.0, workers=workers)
    outcome = evaluate([Job(mnist_a, images[:2])], settings, watch=Watch())
    assert {task.index for task in heard} == {0, 1}
    for task, said in heard.items():
        assert task.name == "d_bnd"
        ends = [message.proven for message in said]
        assert ends == sorted(ends)
        found = outcome.documents[0]["anchors"][task.index]["d_bnd"]
        assert ends[-1] <= found["lower"] <= found["upper"] <= min(m.known for m in said)


def test_a_gap_ends_a_distance_at_a_point(mnist_a: gp.Network, images: list[gp.Anchor]) -> None:
    asked = Settings(metrics=("bnd",), radius=0.2, gap=1.0, time_limit=600.0)
    outcome = evaluate([Job(mnist_a, images[:1])], asked)
    (record,) = outcome.documents[0]["anchors"]
    assert record["at_radius"] == "attacked"
    assert record["d_bnd"]["status"] == "interval"
    assert record["d_bnd"]["nodes"] == 0
    assert not outcome.incomplete
    assert Settings.from_json(outcome.documents[0]["settings"]).gap == 1.0


@pytest.mark.parametrize(
    ("settings", "incomplete"),
    [
        ({}, True),
        ({"gap": 0.5}, False),
        ({"gap": 0.1}, True),
        ({"gap": 0.5, "radius": 0.03}, False),
        # Nothing is known at this radius.
        ({"gap": 1.0, "radius": 0.025}, True),
    ],
)
def test_an_interval_is_complete_where_it_is_as_narrow_as_asked(
    settings: dict[str, float], incomplete: bool
) -> None:
    ends = {"lower": 0.02, "upper": 0.03, "status": "interval"}
    document = {"settings": settings, "anchors": [{"status": "ok", "d_bnd": ends}]}
    assert Outcome([document], [], interrupted=False).incomplete == incomplete


def test_notebooks_show_tables(job: Job) -> None:
    shown = job.network._repr_html_()
    assert shown.count("<tr>") == 1 + len(job.network.activations)
    outcome = evaluate([Job(job.network, job.anchors[:2])], FAST)
    page = outcome._repr_html_()
    assert page.count("<tr>") == 3
    assert f"{outcome.documents[0]['anchors'][1]['d_adv']['value']:.5f}" in page
    found = gp.distance(job.network, job.anchors[0])
    assert found.witness is not None
    page = found._repr_html_()
    assert f"<td>{found.upper:.5f}</td><td>exact</td><td>{found.witness.target}</td>" in page
    robust = gp.distance(job.network, job.anchors[0], radius=1e-4)._repr_html_()
    assert "&gt;= 1.00e-04 (robust)" in robust
