"""Workers come from a server that has everything ready, and that a fork cannot break."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphprune as gp
from graphprune.evaluate.executors import PoolExecutor
from graphprune.evaluate.server import worker_context
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.warm import warm_search
from tests.evaluate.test_warm import compiled

ROOT = Path(__file__).parents[2]
TINY, IMAGES = str(ROOT / "models/mnist-tiny.onnx"), str(ROOT / "models/mnist-test-100.npz")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no server elsewhere")


@contextmanager
def pool(workers: int = 1) -> Iterator[Callable[..., Any]]:
    """Calls functions in a pool of workers."""
    settings = Settings(workers=workers)
    made = PoolExecutor({}, settings, listener=lambda *_: None, memory=None, limit=60.0)
    try:
        yield lambda function, *args: made.submit(function, *args).result(timeout=60)
    finally:
        made.shutdown()


def before_and_after() -> tuple[dict[str, int], dict[str, int]]:
    """Signatures of kernels before a worker computes a distance, and afterwards."""
    before = compiled()
    network = gp.load(TINY)
    assert gp.distance(network, gp.load_anchors(IMAGES, network)[0]).status == "exact"
    return before, compiled()


@linux
def test_a_worker_has_everything_from_its_start() -> None:
    warm_search()  # on disk, at the latest from here on
    worker_context(1)
    with pool() as call:
        # Spawned, it had imported everything itself: more than a second.
        assert call(time.process_time) < 0.5
        before, after = call(before_and_after)
    assert any(before.values())
    assert after == before


def state() -> tuple[bool, int]:
    return "onnxruntime" in sys.modules, len(os.listdir("/proc/self/task"))


@linux
def test_the_server_has_nothing_that_a_fork_breaks() -> None:
    text = "import graphprune.evaluate.served, tests.evaluate.test_server as t; print(t.state())"
    # What this test module imports itself comes after the server's.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    assert python(text, **threads) == "(False, 1)"


@linux
def test_the_server_compiles_nothing(tmp_path: Path) -> None:
    """The parent does, which says so; both would take a minute for the same."""
    text = "import graphprune.evaluate.served; print(graphprune.evaluate.served.NotCompiledError)"
    assert "NotCompiledError" in python(text, NUMBA_CACHE_DIR=str(tmp_path))
    assert not list(tmp_path.rglob("*.nbc"))


def python(text: str, **environment: str) -> str:
    """Run text in an interpreter of its own; what it prints."""
    found = subprocess.run(
        [sys.executable, "-c", text], env=os.environ | environment, cwd=ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return found.stdout.strip()


@linux
def test_the_server_does_not_hear_ctrl_c() -> None:
    from multiprocessing import forkserver

    server: Any = vars(forkserver)["_forkserver"]
    server._stop()
    worker_context(1)
    first = server._forkserver_pid
    os.kill(first, signal.SIGINT)
    with pool() as call:
        assert call(os.getppid) == first
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_workers_have_the_environment_of_their_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    worker_context(1)
    monkeypatch.setenv("GRAPHPRUNE_TEST_OF_WORKERS", "after")
    with pool() as call:
        assert call(os.getenv, "GRAPHPRUNE_TEST_OF_WORKERS") == "after"


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_workers_are_spawned(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.evaluate.server.sys.platform", platform)
    assert worker_context(1).get_start_method() == "spawn"
    if platform == "darwin":
        with pool() as call:
            assert call(np.sqrt, 4.0) == 2.0


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    """Each worker runs the script again, which asks for workers again."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import graphprune as gp\n"
        f"network = gp.load({TINY!r})\n"
        f"gp.evaluate(network, gp.load_anchors({IMAGES!r})[:4], metrics='adv', workers=2)\n"
    )
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    assert (
        ended.stderr.strip()
        .splitlines()[-1]
        .startswith(
            "graphprune.errors.GraphpruneError: the worker processes cannot be started: a script that"
        )
    )
