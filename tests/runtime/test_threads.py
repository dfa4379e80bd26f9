"""Threads of linear algebra: those that were asked for, and afterwards those that were there."""

import numpy as np
import pytest
import threadpoolctl

import graphprune as gp
from graphprune.evaluate import distance
from graphprune.runtime.resources import Resources, using
from graphprune.runtime.threads import blas_threads
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
