"""Confirmed points: what counts is the point asked alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

import graphprune as gp
from graphprune.attacks import confirm as module
from graphprune.ir import Query
from graphprune.runtime.original import run_original
from tests.canonical.models import model_of, node


def test_a_point_that_wins_only_among_others_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime rounds rows of a batch by their place in it: a tie may break either way."""
    constants = {"w": np.array([[1.0, -1.0]], np.float32), "b": np.array([0.0, 0.5], np.float32)}
    network = gp.from_proto(model_of([node("Gemm", "x w b")], ["n", 1], constants=constants))
    query = Query(network, gp.Anchor(np.array([0.75], np.float32), 0), gp.Domain())
    points = np.array([[0.25], [0.125]], dtype=np.float32)
    found = module.confirm(query, points)
    assert found is not None
    assert found.x == 0.25  # a tie, which counts

    def rounded(network: gp.Network, x: NDArray[np.floating]) -> NDArray[np.floating]:
        logits = run_original(network, x)
        if len(x) == 1 and x[0, 0] == 0.25:
            logits[0, 0] = np.nextafter(logits[0, 0], np.float32(1))
        return logits

    monkeypatch.setattr(module, "run_original", rounded)
    found = module.confirm(query, points)
    assert found is not None
    assert found.x == 0.125


def test_a_ray_is_judged_from_its_end_in_a_few_points_between_looks_at_the_clock(
    mnist_a: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each point takes a second: what is known when time is over is the farthest ones."""
    found = gp.attack(mnist_a, images[0], effort="fast").witness
    assert found is not None
    query = Query(mnist_a, images[0], gp.Domain())
    now, asked, judge = [0.0], [0], module._judge

    def slow(query: Query, points: NDArray[np.floating]) -> module._Judged:
        now[0] += len(points)
        asked[0] += len(points)
        return judge(query, points)

    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "_judge", slow)
    monkeypatch.setattr(module, "rows_at_once", lambda _: 4)
    whole = module.closest_on_ray(query, found.x)
    asked[0], now[0] = 0, 0.0
    some = module.closest_on_ray(query, found.x, deadline=10.0)
    assert asked[0] == 12
    assert whole is not None
    assert some is not None
    assert whole.distance <= some.distance <= found.distance * (1 + 1.1e-3)
