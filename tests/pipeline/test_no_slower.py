"""A rewritten file that saves nothing, or is slower, gives way to the file itself."""

import numpy as np
import onnx
import pytest

import graphprune as gp
from graphprune.ir.export import written
from graphprune.pipeline import no_slower as module
from graphprune.pipeline.no_slower import no_slower
from graphprune.region import Box
from graphprune.transforms.replace import Replacement, apply
from tests.oracles import Perceptron


def pair() -> tuple[gp.Network, gp.Network]:
    network = gp.from_proto(Perceptron.random(np.random.default_rng(1), [3, 30, 20, 2]).model())
    box = Box(np.full(3, 0.4), np.full(3, 0.6))
    passes = gp.Pipeline.parse("bounds, prune-stable, fuse-affine")
    return network, passes.run(network, box=box, whole_units=True).network


def test_less_of_everything_is_written_without_a_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: object) -> tuple[float, float]:
        raise AssertionError("measured")

    monkeypatch.setattr(module, "race", never)
    before, after = pair()
    proto, why, times = no_slower(before, after)
    assert (why, times) == ("", None)
    assert proto.ByteSize() < written(before).ByteSize()
    proto, why, _ = no_slower(before, before)
    assert proto == written(before)


@pytest.mark.parametrize(("times", "said"), [((1.0, 1.5), "takes 1.50 times"), ((1.0, 1.01), "")])
def test_what_takes_longer_is_not_written(
    times: tuple[float, float], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "race", lambda *_: times)
    before, after = pair()
    own = written(before)

    def longer(network: gp.Network, **more: object) -> onnx.ModelProto:
        proto = gp.to_proto(network) if network is after else own
        if network is after:
            proto.graph.node.add(op_type="Identity", input=["x"], output=["unused"])
            for _ in range(9):
                proto.graph.node.add().CopyFrom(proto.graph.node[-1])
        return proto

    monkeypatch.setattr(module, "written", longer)
    proto, why, _ = no_slower(before, after)
    assert why.startswith(said)
    assert (proto == own) == bool(said)


def test_what_saves_nothing_is_not_written() -> None:
    """Every stable neuron as a line: products beside ReLUs, and no unit less."""
    before, _ = pair()
    lines = Replacement.nothing(30).with_lines(np.arange(30) < 15, np.ones(1), np.zeros(1))
    proto, why, _ = no_slower(before, apply(before, {0: lines}))
    assert why == "saves nothing"
    assert proto == written(before)
