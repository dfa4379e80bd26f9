"""Clips survive in written files, where float32 needs them."""

from collections import Counter

import numpy as np
import onnx
import onnx.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import graphprune as gp
from graphprune.ir.export import with_own_source
from graphprune.operators import clip
from graphprune.pipeline.verify import BrokenPromiseError
from graphprune.region import Box
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64


def model(body: str, **weights: NDArray[np.floating] | float) -> onnx.ModelProto:
    """x (N, 3) to y (N, 2) by lines of ONNX text; weights are float32 initialisers."""
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 3] x) => (float[N, 2] y) {{ {body} }}
    """
    proto = onnx.parser.parse_model(text)
    for name, array in weights.items():
        tensor = onnx.numpy_helper.from_array(np.asarray(array, np.float32), name)
        proto.graph.initializer.append(tensor)
    return proto


def operators(network: gp.Network) -> Counter[str]:
    return Counter(node.op_type for node in gp.to_proto(network).graph.node)


def tiny_values(body: str, low: float, high: float) -> gp.Network:
    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(3, 4)) * 1e-6, rng.normal(size=(4, 2)) * 1e6
    return gp.from_proto(model(body, a=first, b=last, low=low, high=high))


BODY = "z = MatMul(x, a) h = {} y = MatMul(h, b)"
ENDS = [(0.0, 6.0), (-1.0, 1.0), (-30.0, 0.5)]


@pytest.mark.parametrize(("low", "high"), ENDS)
@pytest.mark.parametrize("form", ["Clip(z, low, high)", "Clip(z, low)", "Clip(z, , high)"])
def test_small_values_are_not_lost_beside_an_end(form: str, low: float, high: float) -> None:
    network = tiny_values(BODY.format(form), low, high)
    x = np.random.default_rng(1).uniform(-1, 1, (50, 3)).astype(np.float32)
    exact = forward64(network, x.astype(np.float64))[0]
    single = run_original(with_own_source(network), x)
    assert np.abs(exact).max() > 0.1
    np.testing.assert_allclose(single, exact, rtol=1e-4, atol=1e-5)
    assert operators(network)["Clip"] + operators(network)["Relu"] == 1


def test_two_ends_are_one_node_and_no_other_is_added() -> None:
    network = tiny_values(BODY.format("Clip(z, low, high)"), -1.0, 1.0)
    assert operators(network) == Counter({"Gemm": 2, "Clip": 1})
    # As it was read: reading what was written gives the same again.
    again = gp.from_proto(gp.to_proto(network))
    assert operators(again) == operators(network)
    assert again.neurons == network.neurons


@given(
    st.floats(-2, 2, width=32), st.floats(0, 3, width=32), st.integers(0, 100),
    st.sampled_from(["Clip(z, low, high)", "HardSigmoid(z)", "Clip(z, , high)", "Clip(z, low)"]),
)  # fmt: skip
def test_what_is_written_is_the_same_function(
    low: float, width: float, seed: int, form: str
) -> None:
    """With a skip and a further reader, so that not everything merges."""
    rng = np.random.default_rng(seed)
    body = f"z = MatMul(x, a) h = {form} s = Add(h, z) t = Relu(s) u = Add(t, h) y = MatMul(u, b)"
    network = gp.from_proto(
        model(body, a=rng.normal(size=(3, 4)), b=rng.normal(size=(4, 2)), low=low,
              high=low + width)
    )  # fmt: skip
    x = rng.uniform(-3, 3, (20, 3))
    written = clip.with_clips(network)
    np.testing.assert_allclose(
        forward64(written, x)[0], forward64(network, x)[0], rtol=1e-9, atol=1e-9
    )


def test_stable_neurons_leave_the_ends_of_the_others() -> None:
    network = tiny_values(BODY.format("Clip(z, low, high)"), 0.0, 6.0)
    box = Box(np.full(3, -1.0), np.full(3, 1.0))
    pipeline = gp.Pipeline.parse("bounds, prune-stable, fuse-affine")
    domain = gp.Domain(-1.0, 1.0)
    result = pipeline.run(network, box=box, domain=domain, verify=True).network
    x = np.random.default_rng(1).uniform(-1, 1, (50, 3)).astype(np.float32)
    np.testing.assert_allclose(
        run_original(with_own_source(result), x), run_original(network, x), rtol=1e-4, atol=1e-5
    )


def test_the_sequential_form_has_plain_relus() -> None:
    network = tiny_values(BODY.format("Clip(z, low, high)"), 0.0, 6.0)
    box = Box(np.full(3, -1.0), np.full(3, 1.0))
    result = gp.Pipeline.parse("sequential").run(network, box=box).network
    assert operators(result)["Clip"] == 0


def test_reading_is_checked_against_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_values(BODY.format("Clip(z, low, high)"), 0.0, 6.0)
    gp.Pipeline(()).run(network, verify=True)
    for forms in ("_FORMS", "_RESTORING"):
        monkeypatch.setattr(f"graphprune.ir.export.{forms}", [])
    with pytest.raises(BrokenPromiseError, match="'read' broke its promise"):
        gp.Pipeline(()).run(network, verify=True)
