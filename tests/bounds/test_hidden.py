"""Bounds of hidden layers: what points of the region give lies between them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import METHODS
from graphprune.cli.app import run as main
from graphprune.runtime.reference import pre_activations
from graphprune.testing import anchors, networks
from tests.conftest import MODELS


@given(st.data())
def test_points_lie_between_the_bounds(data: st.DataObject) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    ball = anchor.ball(0.1, gp.Domain())
    found = gp.hidden_bounds(network, ball, method=data.draw(st.sampled_from(METHODS)))
    assert len(found) == len(network.activations)
    rng = np.random.default_rng(0)
    points = rng.uniform(ball.lower, ball.upper, (20, *network.input_shape))
    for bounds, z in zip(found, pre_activations(network, *points), strict=True):
        assert bounds.radius == 0.1
        z = z.reshape(len(points), *bounds.lower.shape)
        assert np.all(bounds.lower <= z)
        assert np.all(z <= bounds.upper)


def test_a_box_or_a_ball_that_does_not_fit_is_refused(tiny: gp.Network) -> None:
    with pytest.raises(gp.GraphpruneError, match=r"shape \(2,\), the network takes \(1, 28, 28\)"):
        gp.hidden_bounds(tiny, gp.Box(np.zeros(2), np.ones(2)))
    with pytest.raises(gp.GraphpruneError, match="expected a Ball or a Box.*, not tuple"):
        gp.hidden_bounds(tiny, (np.zeros(2), np.ones(2)))  # type: ignore[arg-type]
    shape = tiny.input_shape
    with pytest.raises(gp.GraphpruneError, match="did you mean 'crown'"):
        gp.hidden_bounds(tiny, gp.Box(np.zeros(shape), np.ones(shape)), method="crwn")  # type: ignore[arg-type]


def test_opt_prints_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(MODELS / "mnist-tiny.onnx")
    passes = "bounds{radius=0.01}, prune-stable"
    more = ["--anchors", str(MODELS / "mnist-test-100.npz"), "--stats", "--passes", passes]
    assert main(["opt", model, "-o", str(tmp_path / "o.onnx"), *more]) == 0
    said = capsys.readouterr().err
    network = gp.load(model)
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[0]
    found = gp.hidden_bounds(network, anchor.ball(0.01, gp.Domain()))
    for number, (bounds, node) in enumerate(zip(found, network.activations, strict=True), 1):
        live = network.live(node).reshape(bounds.lower.shape)
        unstable = int(np.sum((bounds.lower < 0) & (bounds.upper > 0) & live))
        (line,) = (x for x in said.splitlines() if f"layer {number}:" in x)
        assert f"{int(live.sum())} neurons in [" in line
        assert line.endswith(f"{unstable} unstable")
