"""Threads of linear algebra: those that were asked for, and afterwards those that were there."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl

import graphprune as gp
from graphprune.evaluate import distance
from graphprune.runtime.resources import Resources, using
from graphprune.runtime.threads import KERNELS, VARIABLES, blas_threads
from tests.conftest import MODELS


def counts() -> set[int]:
    """Threads of every library of linear algebra that is loaded."""
    found = threadpoolctl.threadpool_info()
    return {library["num_threads"] for library in found if library["user_api"] == "blas"}


def test_threads_are_limited_and_given_back() -> None:
    with blas_threads(2):
        assert counts() == {2}
        with using(Resources(threads=1)):
            assert counts() == {1}
            with blas_threads(1):
                assert counts() == {1}
            assert counts() == {1}
        assert counts() == {2}


def test_an_error_gives_them_back() -> None:
    with blas_threads(2):
        with pytest.raises(ZeroDivisionError), blas_threads(1):
            raise ZeroDivisionError
        assert counts() == {2}


def test_a_distance_has_one_thread_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels' products of dense layers took thirty times as long beside other work."""
    seen: list[set[int]] = []
    close = distance._close

    def watched(*args: object) -> None:
        seen.append(counts())
        close(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(distance, "_close", watched)
    network = gp.load(MODELS / "toy-2d.onnx")
    anchor = gp.Anchor(np.array([0.3, 0.4], np.float32))
    with blas_threads(2):
        for threads in (1, 2):
            gp.distance(network, anchor, time_limit=1, threads=threads)
    assert seen == [{1}, {2}]


def test_kernels_are_limited_where_they_are_loaded_last(tmp_path: Path) -> None:
    """A limit loads nothing, which took half a second; the products of kernels know what came."""
    script = tmp_path / "late.py"
    script.write_text(f"""
import sys
import graphprune as gp
import threadpoolctl
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.runtime.resources import Resources, using
network = gp.load({str(MODELS / "mnist-tiny.onnx")!r})
anchor = gp.load_anchors({str(MODELS / "mnist-test-100.npz")!r}, network)[0]
with using(Resources(threads=1)):
    assert {KERNELS!r} not in sys.modules
    import graphprune.bounds.compact.backward as backward
    kernel, seen = backward.lower_bounds, []
    def watched(*given):
        info = threadpoolctl.threadpool_info()
        seen.append({{part["num_threads"] for part in info if part["user_api"] == "blas"}})
        return kernel(*given)
    backward.lower_bounds = watched
    pre_activation_bounds(network, Boxes.of(gp.Ball(anchor.x, 0.1)))
    assert {KERNELS!r} in sys.modules
    assert seen and all(counts == {{1}} for counts in seen), seen
""")
    own = dict.fromkeys(VARIABLES, "2")
    done = subprocess.run(
        [sys.executable, str(script)], env=os.environ | own, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
