"""Killed at random times, a disk that fills up, a folder that cannot be written, a lost cluster
worker: only tasks in flight are lost and there is never half a result."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graphprune.cli.app import run
from graphprune.evaluate.run import evaluate
from tests.evaluate.test_run import FAST, POINTS, TOY, job, numbers, toy

__all__ = ["job", "toy"]
ROUNDS = 50

# Imports once, then forks a process per round: a fresh interpreter each time would be all waiting.
KILLED = f"""
import os, random, signal, sys
import graphprune as gp
import networkx, onnx.reference, onnxruntime
from graphprune.evaluate.results import Job
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.settings import Settings
settings = Settings(metrics=("adv", "rob"), effort="fast")
from graphprune.evaluate.warm import warm_up
warm_up()
network = gp.load({TOY!r})
anchors = gp.load_anchors({POINTS!r})
chance = random.Random(0)
for _ in range({ROUNDS}):
    # In processor time: on a busy machine rounds are longer, and get as far.
    seconds = chance.uniform(0.02, 0.5)
    pid = os.fork()
    if not pid:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # ends the process where it is
        evaluate([Job(network, anchors)], settings, run_dir=sys.argv[1])
        os._exit(0)
    os.waitpid(pid, 0)
    print("killed", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_times(tmp_path: Path, job) -> None:  # type: ignore[no-untyped-def]
    killing = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert killing.stdout is not None
    kept: dict[str, str] = {}
    rounds = 0
    for _ in killing.stdout:
        rounds += 1
        database = tmp_path / "run.sqlite"
        if not database.exists():
            continue
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            rows = db.execute("SELECT idx, task, value FROM results") if "results" in tables else ()
            now = {f"{i} {task}": value for i, task, value in rows}
        assert all("value" in json.loads(value) for value in now.values())
        assert kept.items() <= now.items(), "a finished result was lost or changed"
        kept = now
    assert (rounds, killing.wait()) == (ROUNDS, 0)
    assert kept, "no round got as far as a result"
    resumed = evaluate([job], FAST, run_dir=tmp_path)
    assert numbers(resumed.documents[0]) == numbers(evaluate([job], FAST).documents[0])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_what_is_finished(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.json"
    args = ["evaluate", TOY, "--anchors", POINTS, "--metrics", "adv,rob", "--effort", "fast"]
    (disk / "filler").write_bytes(b"x" * 90_000)
    code = run([*args, "--out", str(disk / "run"), "--json", str(out)])
    error = capsys.readouterr().err
    assert code == 2, "the disk was large enough: the test shows nothing"
    assert "graphprune: error:" in error
    assert "full" in error
    assert "Traceback" not in error
    (disk / "filler").unlink()
    done = json.loads(out.read_text())["anchors"] if out.exists() else []
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    assert run([*args, "--out", str(disk / "run"), "--json", str(out), "--quiet"]) == 0
    again = json.loads(out.read_text())
    assert len(again["anchors"]) == 10
    for before, after in zip(done, again["anchors"], strict=False):
        if "interrupted" not in before:
            assert before["d_adv"]["value"] == after["d_adv"]["value"]


def test_a_folder_that_cannot_be_written(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    args = ["evaluate", TOY, "--anchors", POINTS, "--metrics", "adv", "--out", str(disk / "run")]
    assert run(args) == 2
    error = capsys.readouterr().err
    assert "cannot be used as a run directory" in error
    assert "Read-only" in error


def test_a_dask_cluster_that_loses_a_worker_gives_the_same_results(job) -> None:  # type: ignore[no-untyped-def]
    distributed = pytest.importorskip("distributed")
    expected = numbers(evaluate([job], FAST).documents[0])
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    ) as cluster:
        victim = random.Random(0).choice(list(cluster.workers.values())).pid
        killed: list[int] = []

        from graphprune.evaluate.run import Unwatched

        heard: list[object] = []

        class Watch(Unwatched):
            def running(self, *said: object) -> None:
                heard.append(said[-1])

            def finished(self, *_: object) -> None:
                if not killed:
                    killed.append(victim)
                    os.kill(victim, signal.SIGKILL)

        outcome = evaluate([job], FAST, scheduler=cluster.scheduler_address, watch=Watch())
    assert killed
    assert numbers(outcome.documents[0]) == expected
    assert heard
    assert all(isinstance(text, str) for text in heard)


def test_a_scheduler_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed")
    args = [
        "evaluate",
        TOY,
        "--anchors",
        POINTS,
        "--limit",
        "1",
        "--scheduler",
        "tcp://127.0.0.1:1",
    ]
    assert run([*args, "--metrics", "adv"]) == 2
    assert "--scheduler tcp://127.0.0.1:1: cannot connect" in capsys.readouterr().err
