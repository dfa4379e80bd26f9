"""A rewritten file that saves nothing, or is slower, gives way to the file itself."""

import numpy as np
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


@pytest.mark.parametrize(
    ("ratios", "said"),
    [([1.5, 1.4], "takes 1.40 times as long"), ([1.5, 1.01], ""), ([0.9], ""), ([np.nan], "")],
)
def test_a_file_that_is_slower_twice_is_not_written(
    ratios: list[float], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN: ONNX Runtime runs neither."""
    left = [(1.0, ratio) for ratio in ratios]
    monkeypatch.setattr(module, "race", lambda *_: left.pop(0))
    before, after = pair()
    proto, why, _ = no_slower(before, after)
    assert why == said
    assert not left
    assert proto == (written(before) if said else written(after))


def test_an_untouched_network_is_its_file() -> None:
    before, _ = pair()
    assert no_slower(before, before) == (written(before), "", None)


def test_what_saves_nothing_is_not_written() -> None:
    """Every stable neuron as a line: products beside ReLUs, and no unit less."""
    before, _ = pair()
    lines = Replacement.nothing(30).with_lines(np.arange(30) < 15, np.ones(1), np.zeros(1))
    proto, why, _ = no_slower(before, apply(before, {0: lines}))
    assert why == "saves nothing"
    assert proto == written(before)
