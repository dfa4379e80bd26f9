"""The skip-free form computes the same on its region, with nothing but a chain of layers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.cli.app import run
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball, Box
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.substitutes.chain import is_chain
from graphprune.testing import anchors, networks
from tests.conftest import MODELS


def close(a: np.ndarray, b: np.ndarray, tolerance: float) -> bool:
    return bool(np.max(np.abs(a - b)) <= tolerance * (1 + np.max(np.abs(b))))


@settings(max_examples=25)
@given(
    st.data(),
    st.sampled_from(
        ["", "prune-stable, ", "prune-stable, fuse-affine, ", "linearize-secant{layers=2}, "]
    ),
    st.sampled_from([0.01, 0.2]),
)
def test_a_chain_that_equals_the_network_on_the_ball(
    data: st.DataObject, before: str, radius: float
) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    found = gp.attack(network, anchor, effort="fast")
    if found.witness is None:
        return
    text = f"bounds{{radius={radius}}}, {before}"
    expected = gp.Pipeline.parse(text + "dead-code").run(network, anchor, facts=(found,))
    # A secant drops the bounds: the sequential form is then made for the ball of d_adv.
    result = gp.Pipeline.parse(text + "sequential").run(network, anchor, facts=(found,))
    assert is_chain(result.network)
    region = result.state.region
    assert isinstance(region, Ball)
    x = samples_in(region, 40)
    assert close(forward64(result.network, x)[0], forward64(expected.network, x)[0], 1e-9)
    # In float32 too, where a shift that is too small would clip.
    again = gp.from_proto(gp.to_proto(result.network))
    assert close(run_original(again, x.astype(np.float32)), forward64(expected.network, x)[0], 1e-3)


@settings(max_examples=10)
@given(networks(), st.integers(0, 99))
def test_a_whole_box_without_an_anchor(network: gp.Network, seed: int) -> None:
    lower = np.random.default_rng(seed).uniform(-1, 1, network.input_shape)
    box = Box(lower, lower + 0.5)
    result = gp.Pipeline.parse("bounds, sequential").run(network, box=box, verify=True)
    assert is_chain(result.network)


def test_a_file_of_gemm_conv_relu_and_flatten(tmp_path: Path) -> None:
    out = tmp_path / "s.onnx"
    command = [
        "opt", str(MODELS / "mnist-tiny.onnx"), "-o", str(out), "--anchors",
        str(MODELS / "mnist-test-100.npz"), "--passes", "linearize-secant{layers=1}, fuse-affine",
        "--sequential", "--verify-each",
    ]  # fmt: skip
    assert run(command) == 0
    proto = onnx.load(out)
    onnx.checker.check_model(proto, full_check=True)
    assert {n.op_type for n in proto.graph.node} <= {"Gemm", "Conv", "Relu", "Flatten", "Reshape"}
    props = {p.key: p.value for p in proto.metadata_props}
    assert "sequential" in props["graphprune.rewrites"]
    assert "graphprune.radius" in props


def test_other_activations_and_large_layers_are_refused(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphprune.substitutes import chain

    monkeypatch.setattr(chain, "LARGEST", 1000)
    text = "bounds{radius=0.02}, prune-stable, sequential"
    with pytest.raises(gp.GraphpruneError, match="too large to write out"):
        gp.Pipeline.parse(text).run(tiny, images[0])
