"""Times of models: how they are compared."""

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.runtime import timing
from graphprune.runtime.timing import milliseconds, race
from tests.oracles import Perceptron


def pair() -> tuple[gp.Network, onnx.ModelProto, onnx.ModelProto]:
    network = gp.from_proto(Perceptron.random(np.random.default_rng(0), [3, 4, 2]).model())
    proto = gp.to_proto(network)
    broken = onnx.ModelProto()
    broken.CopyFrom(proto)
    broken.graph.node[0].op_type = "NoSuchOperator"
    return network, proto, broken


def test_a_model_that_nothing_runs_has_no_time() -> None:
    network, proto, broken = pair()
    assert np.isnan(milliseconds(network, proto=broken))
    assert np.isnan(race(network, proto, broken)).all()


def test_a_race_takes_the_median_of_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn beside other work, or with luck, does not decide."""
    network, proto, _ = pair()
    turns = [(2.0, 4.0), (3.0, 3.3), (9.0, 9.9), (2.0, 0.1), (2.5, 2.75)]
    monkeypatch.setattr(timing, "ROUNDS", len(turns))
    monkeypatch.setattr(timing, "_turn", lambda *_: turns.pop(0))
    assert race(network, proto, proto) == pytest.approx((2.0, 2.2))
