"""--verify-each: honest passes pass, liars are named with the point that shows it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx.parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.cli.app import run
from graphprune.passes.base import PASSES, Facts, Promise, State, register_pass
from graphprune.pipeline import BrokenPromiseError
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball, Box, Norm, norm_of
from graphprune.runtime.reference import forward64
from graphprune.testing import anchors, networks
from graphprune.transforms.replace import Replacement, apply
from tests.conftest import MODELS


@dataclass(frozen=True)
class Liar:
    """Removes the first layer's neurons and promises what is asked of it."""

    name: ClassVar[str] = "liar"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()
    keeps: ClassVar[Facts] = frozenset()

    def run(self, state: State) -> State:
        n = state.network.live(state.network.activations[0]).size
        none = Replacement.nothing(n).with_lines(np.ones(n, bool), np.zeros(n), np.zeros(n))
        assert state.anchor is not None
        ball = Ball(state.anchor.x.astype(float), 0.05)
        return state.rewritten(apply(state.network, {0: none}), region=ball)


class BallLiar(Liar):
    name: ClassVar[str] = "ball-liar"
    promise: ClassVar[Promise] = "ball"


class AnchorLiar(Liar):
    name: ClassVar[str] = "anchor-liar"
    promise: ClassVar[Promise] = "anchor"


@pytest.mark.parametrize("cls", [Liar, BallLiar, AnchorLiar])
def test_a_broken_promise_names_pass_and_point(
    cls: type[Liar], tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    pipeline = gp.Pipeline((*gp.Pipeline.parse("dead-code").passes, cls()))
    with pytest.raises(BrokenPromiseError, match=f"pass '{cls.name}' broke its promise") as caught:
        pipeline.run(tiny, images[0], verify=True)
    error = caught.value
    # The counterexample is one: both networks again, at that point.
    changed = pipeline.run(tiny, images[0]).network
    assert np.allclose(forward64(tiny, error.point[None])[0][0], error.before)
    assert np.allclose(forward64(changed, error.point[None])[0][0], error.after)
    assert not np.allclose(error.before, error.after)
    if cls.promise == "ball":
        assert Ball(images[0].x.astype(float), 0.05).contains(error.point)


def test_nothing_promised_is_nothing_broken(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    class Modest(Liar):
        promise: ClassVar[Promise] = "nothing"

    gp.Pipeline((Modest(),)).run(tiny, images[0], verify=True)


@settings(max_examples=15)
@given(st.data(), st.sampled_from([0.02, 0.2]))
def test_our_own_passes_keep_their_promises(data: st.DataObject, radius: float) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    text = f"bounds{{radius={radius}}}, prune-stable, fuse-affine, dead-code"
    gp.Pipeline.parse(text).run(network, anchor, verify=True)
    text = f"prune-constant{{radius={radius}}}, fuse-affine"
    gp.Pipeline.parse(text).run(network, anchor, verify=True)


@settings(max_examples=15)
@given(networks(), st.integers(0, 99))
def test_stable_neurons_of_a_box_are_removed_without_an_anchor(
    network: gp.Network, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    lower = rng.uniform(0, 0.6, network.input_shape)
    box = Box(lower, lower + rng.uniform(0, 0.3, network.input_shape))
    pipeline = gp.Pipeline.parse("bounds, prune-stable, fuse-affine")
    result = pipeline.run(network, box=box, verify=True)
    x = samples_in(box, 30)
    f, g = forward64(network, x)[0], forward64(result.network, x)[0]
    assert np.allclose(f, g, rtol=1e-9, atol=1e-9)
    assert "graphprune.box" in result.network.model.metadata_props


def test_samples_reach_corners_and_stay_inside() -> None:
    box = Box(np.zeros((2, 3)), np.ones((2, 3)))
    x = samples_in(box, 30)
    assert np.all((x >= 0) & (x <= 1))
    assert any(np.all((p == 0) | (p == 1)) for p in x)
    assert np.any((x > 0.01) & (x < 0.99))


def test_the_command_line_exits_with_2_and_dumps_every_graph(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny, images = str(MODELS / "mnist-tiny.onnx"), str(MODELS / "mnist-test-100.npz")
    out, dump = str(tmp_path / "o.onnx"), tmp_path / "graphs"
    common = ["opt", tiny, "-o", out, "--anchors", images, "--verify-each", "--passes"]
    text = "bounds{radius=0.02}, prune-stable, fuse-affine"
    assert run([*common, text, "--dump", str(dump), "--stats", "--timing"]) == 0
    names = sorted(path.name for path in dump.iterdir())
    assert names == [
        "00-input.onnx",
        "01-bounds.onnx",
        "02-prune-stable.onnx",
        "03-fuse-affine.onnx",
    ]
    for name in names:
        assert gp.load(dump / name).classes == 10
    said = capsys.readouterr()
    assert "operators: " in said.err
    assert "ms (" in said.out
    register_pass(BallLiar)
    try:
        assert run([*common, "bounds{radius=0.02}, ball-liar"]) == 2
    finally:
        del PASSES["ball-liar"]
    assert "pass 'ball-liar' broke its promise ('ball')" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ("0.2", "takes LO,HI or a .npz"), ("0.9,0.1", "lower <= upper"), ("nan,1", "finite"),
        ("no.npz", "no such file"), ("2,3", "inside --domain"),
    ],
)  # fmt: skip
def test_wrong_boxes_are_refused(
    box: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(MODELS / "mnist-tiny.onnx")
    assert (
        run(["opt", tiny, "-o", str(tmp_path / "o.onnx"), "--box", box, "--passes", "bounds"]) == 2
    )
    assert said in capsys.readouterr().err


def test_a_box_file_must_fit_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny, path = str(MODELS / "mnist-tiny.onnx"), tmp_path / "b.npz"
    common = [
        "opt",
        tiny,
        "-o",
        str(tmp_path / "o.onnx"),
        "--passes",
        "bounds, prune-stable",
        "--box",
        str(path),
    ]
    np.savez(path, lower=np.zeros(3), upper=np.ones(784))
    assert run(common) == 2
    assert "'lower' has shape (3,)" in capsys.readouterr().err
    np.savez(path, lower=np.zeros(784))
    assert run(common) == 2
    assert "'lower' and 'upper'" in capsys.readouterr().err
    np.savez(path, lower=np.full(784, 0.4), upper=np.linspace(0.5, 0.6, 784))
    assert run(common) == 0


def test_a_promise_of_a_ball_must_say_which(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    class Vague(BallLiar):
        def run(self, state: State) -> State:
            return replace(super().run(state), region=None)

    with pytest.raises(gp.GraphpruneError, match="promises a ball and does not say which"):
        gp.Pipeline((Vague(),)).run(tiny, images[0], verify=True)


@pytest.mark.parametrize("norm", [norm_of("l2"), norm_of("l1")])
def test_samples_of_a_ball_lie_in_it_in_its_norm(norm: Norm) -> None:
    centre = np.array([0.0, 0.5, 0.3, 1.0])
    ball = Ball(centre, 0.4, gp.Domain(0.0, 1.0), norm)
    x = samples_in(ball, 60)
    assert np.all((x >= 0) & (x <= 1))
    assert np.all(norm.lengths(x - centre) <= 0.4)
    assert np.any(norm.lengths(x - centre) > 0.399)
    assert all(ball.contains(p) for p in x)
    assert not ball.contains(centre + np.array([0.3, 0.3, 0.0, 0.0]))
    assert Ball(centre, 0.4, norm="linf").contains(centre + np.array([0.3, 0.3, 0.0, 0.0]))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("function", ["Log", "Exp"])
def test_points_without_a_finite_value_are_equal_where_both_networks_have_none(
    function: str,
) -> None:
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,2] x) => (float[N,2] y)
          <float[2,2] w = {{150.0, -30.0, 20.0, 120.0}}, float[2,2] v = {{1.0, -1.0, 0.5, 2.0}}> {{
          a = MatMul (x, w)
          b = MatMul (a, v)
          h = {function} (b)
          y = MatMul (h, v)
        }}"""
    network = gp.from_proto(onnx.parser.parse_model(text))
    (step,) = gp.Pipeline.parse("fuse-affine").run(network, verify=True).report
    assert step.checked is not None
    assert step.checked.points > 1
