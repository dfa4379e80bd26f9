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
