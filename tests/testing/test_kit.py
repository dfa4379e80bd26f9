"""The public kit: strategies shrink to readable models, assertions catch what is wrong."""

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import find, given, reject, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.ir import GraphBuilder
from graphprune.ir.network import AffineOperator, affine
from graphprune.operators import Dense
from graphprune.passes.base import PASSES, Facts, Promise, State
from graphprune.pipeline import BrokenPromiseError
from graphprune.region import Ball, Box
from graphprune.runtime.reference import forward64
from graphprune.testing import (
    affine_segments,
    anchors,
    assert_adjoint,
    assert_encloses,
    assert_equivalent,
    assert_preserves,
    networks,
    pipelines,
)
from graphprune.testing.strategies import model_text, models
from graphprune.transforms.replace import apply
from tests.conftest import Floor, random_points
from tests.oracles import Perceptron

ROOT = Path(__file__).parent.parent.parent


@given(affine_segments(), st.integers(0, 99))
def test_affine_segments_are_affine(drawn: tuple[gp.Network, object], seed: int) -> None:
    network, segment = drawn
    assert segment is network.segments[-1]
    assert not network.activations
    x, y = random_points(network, 2, seed).astype(float)
    middle = forward64(network, np.stack([x, y, 0.5 * (x + y)]))[0]
    assert np.allclose(middle[2], 0.5 * (middle[0] + middle[1]))


@given(affine_segments())
def test_operators_of_drawn_segments_obey_the_adjoint_law(drawn: tuple[gp.Network, object]) -> None:
    network = drawn[0]
    from graphprune.ir.network import data_inputs, sample_shape

    for node in network.nodes:
        assert_adjoint(affine(node), *(sample_shape(v) for v in data_inputs(node)))


@settings(max_examples=100)
@given(pipelines())
def test_drawn_pipelines_have_a_text(pipeline: gp.Pipeline) -> None:
    assert gp.Pipeline.parse(str(pipeline)) == pipeline


@settings(max_examples=8)
@given(st.data())
def test_drawn_rewrites_keep_their_promises(floor: Floor, data: st.DataObject) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    names = [
        "bounds",
        "prune-stable",
        "fuse-affine",
        "dead-code",
        "merge-neurons",
        "prune-constant",
    ]
    pipeline = data.draw(pipelines(names=names, longest=3))
    found = gp.attack(network, anchor, effort="fast")
    if found.witness is not None:  # passes without a radius ask for one
        try:
            pipeline.run(network, anchor, facts=(found,), verify=True)
        except BrokenPromiseError:
            raise
        except gp.GraphpruneError:
            reject()  # a pruned network may have no adversarial point left
        floor.checked(1, least=3)


def test_models_shrink_to_a_few_lines_of_text() -> None:
    model = find(models(conv=True), lambda m: any(n.op_type == "Conv" for n in m.graph.node))
    text = model_text(model)
    assert len(model.graph.node) <= 5
    assert "Conv <" in text
    assert "Gemm" in text
    assert all(len(line) < 250 for line in text.splitlines())


def test_a_failing_example_prints_the_model_as_onnx_text(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(
        "from hypothesis import given\nfrom graphprune.testing import networks\n"
        "@given(networks(conv=False))\ndef test_it(network):\n    assert network.classes > 9\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"random \(float\[.*=> \(float\[", done.stdout)
    assert "Gemm" in done.stdout or "MatMul" in done.stdout


def plugin() -> list[str]:
    """How pytest gets the plugin where the checkout is not installed."""
    installed = any(p.name == "graphprune" for p in metadata.entry_points(group="pytest11"))
    return [] if installed else ["-p", "graphprune.testing.plugin"]


def test_the_plugin_sets_the_number_of_examples(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(
        "from hypothesis import given, strategies as st\nseen = []\n"
        "@given(st.integers(0, 10**9))\ndef test_it(x):\n    seen.append(x)\n"
        "def test_count():\n    assert len(seen) == 7\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", *plugin(), "--graphprune-examples"]
    run = [
        subprocess.run(
            [*command, n, str(test)], capture_output=True, text=True, cwd=ROOT, check=False
        )
        for n in ("7", "0")
    ]
    assert run[0].returncode == 0, run[0].stdout + run[0].stderr
    assert run[1].returncode == 4
    assert "at least 1" in run[1].stderr + run[1].stdout


def test_assert_equivalent_finds_a_difference() -> None:
    net = Perceptron.random(np.random.default_rng(0), [3, 4, 2])
    f = gp.from_proto(net.model())
    net.biases[0][1] += 1e-3
    g = gp.from_proto(net.model())
    with pytest.raises(AssertionError, match="differ at x"):
        assert_equivalent(f, g)
    assert_equivalent(f, g, tolerance=1.0)
    assert_equivalent(f, f, on=random_points(f))
    assert_equivalent(f, f, on=Ball(np.full(3, 0.5), 0.1))
    more = gp.from_proto(Perceptron.random(np.random.default_rng(0), [3, 4, 3]).model())
    with pytest.raises(AssertionError, match="2 and 3 classes"):
        assert_equivalent(f, more)
    wider = gp.from_proto(Perceptron.random(np.random.default_rng(0), [4, 4, 2]).model())
    with pytest.raises(AssertionError, match="input shapes differ"):
        assert_equivalent(f, wider)


def test_assert_encloses_finds_a_bound_that_is_too_tight() -> None:
    network = gp.from_proto(Perceptron.random(np.random.default_rng(0), [3, 4, 2]).model())
    ball = Ball(np.full(3, 0.5), 0.2)
    layers = pre_activation_bounds(network, Boxes.of(ball))
    assert_encloses(network, layers, ball)
    tight = replace(layers[0], upper=layers[0].upper - np.array([[0, 0, 0.05, 0]], np.float32))
    with pytest.raises(AssertionError, match="layer 1, neuron 2: .* lies outside"):
        assert_encloses(network, [tight], ball)
    nothing = replace(layers[0], upper=np.full_like(layers[0].upper, np.nan))
    with pytest.raises(AssertionError, match="layer 1, neuron 0"):
        assert_encloses(network, [nothing], ball)


def test_assert_adjoint_finds_a_wrong_transpose() -> None:
    class Wrong(Dense):
        def adjoint(self, b, rows):  # type: ignore[no-untyped-def]
            return (b.op("MatMul", [rows, b.constant(self.weight.T.copy(), "w")]),)

    op: AffineOperator = Wrong(np.arange(9.0).reshape(3, 3), np.zeros(3))
    with pytest.raises(AssertionError, match="<A x, y>"):
        assert_adjoint(op, (3,))
    assert_adjoint(Dense(np.arange(9.0).reshape(3, 3), np.ones(3)), (3,))


@dataclass(frozen=True)
class Vandal:
    """Writes on the network it was given."""

    name: ClassVar[str] = "vandal"
    promise: ClassVar[Promise] = "nothing"
    needs: ClassVar[Facts] = frozenset()
    keeps: ClassVar[Facts] = frozenset()

    def run(self, state: State) -> State:
        for node in state.network.model.graph:
            node.name = "mine"
        return state.rewritten(apply(state.network, {}))


def test_assert_preserves_finds_liars_and_vandals() -> None:
    network = gp.from_proto(Perceptron.random(np.random.default_rng(0), [3, 4, 2]).model())
    anchor = gp.Anchor(np.full(3, 0.5, np.float32), 0)
    (stable,) = gp.Pipeline.parse("prune-stable").passes
    box = Box(np.full(3, 0.4), np.full(3, 0.6))
    assert assert_preserves(stable, network, box=box).live_neurons <= network.live_neurons

    class Liar(Vandal):
        promise: ClassVar[Promise] = "anchor"

        def run(self, state: State) -> State:
            other = Perceptron.random(np.random.default_rng(1), [3, 4, 2])
            return state.rewritten(gp.from_proto(other.model()))

    with pytest.raises(BrokenPromiseError, match="broke its promise"):
        assert_preserves(Liar(), network, anchor)
    with pytest.raises(AssertionError, match="changed the network it was given"):
        assert_preserves(Vandal(), network, anchor)

    class Painter(Vandal):
        """Spoils weights of the first layer, which no image of zeros shows."""

        def run(self, state: State) -> State:
            weight = affine(state.network.nodes[0])
            assert isinstance(weight, Dense)
            weight.weight[:] *= 7.0
            return state

    with pytest.raises(AssertionError, match="changed the network it was given"):
        assert_preserves(Painter(), network, anchor)


@pytest.mark.parametrize("kept", [frozenset(), frozenset({gp.Attack})])
def test_an_adversarial_point_that_is_promised_is_looked_at(
    kept: Facts, tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    """Whether or not the pass keeps the attack."""

    class Half(Vandal):
        promise: ClassVar[Promise] = "anchor and adversarial"
        needs: ClassVar[Facts] = frozenset({gp.Attack})
        keeps: ClassVar[Facts] = kept

        def run(self, state: State) -> State:
            _, state = state.need(gp.Attack)
            (constant,) = gp.Pipeline.parse("prune-constant{gamma=0.9 radius=0.4}").passes
            return replace(state, network=constant.run(replace(state, running=constant)).network)

    if kept:
        with pytest.raises(BrokenPromiseError, match="broke its promise"):
            assert_preserves(Half(), tiny, images[0])
    else:
        with pytest.raises(gp.GraphpruneError, match="promises to keep an adversarial point"):
            assert_preserves(Half(), tiny, images[0])


def test_options_of_words_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Named(Vandal):
        name: ClassVar[str] = "named"
        word: str = "hello"

    monkeypatch.setitem(PASSES, "named", Named)
    word = find(
        pipelines(names=["named"], longest=1), lambda p: len(p.passes) == 1 and "=" in str(p)
    )
    assert gp.Pipeline.parse(str(word)) == word


def test_the_documented_examples_run(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "testing.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    (tmp_path / "test_docs.py").write_text(code)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin(),
            "--graphprune-examples", "15", str(tmp_path),
        ],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@dataclass(frozen=True, eq=False)
class Misshapen(Dense):
    """Its adjoint multiplies by a matrix that does not fit."""

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (b.op("MatMul", [rows, b.constant(self.weight.T, "weight")]),)


def test_an_invalid_adjoint_is_told_in_the_kit_s_words() -> None:
    op = Misshapen(np.ones((2, 3)), np.zeros(2))
    with pytest.raises(AssertionError, match=r"rows of shape \(2,\) and must return \[\(3,\)\]"):
        assert_adjoint(op, (3,))


def test_a_pass_that_lacks_its_anchor_is_told_so() -> None:
    network = gp.from_proto(Perceptron.random(np.random.default_rng(0), [2, 3, 2]).model())
    (item,) = gp.Pipeline.parse("prune-constant{gamma=0.5}").passes
    with pytest.raises(TypeError, match=r"assert_preserves lacks anchor=\.\.\."):
        assert_preserves(item, network)


def test_failures_end_in_the_test_itself(tmp_path: Path) -> None:
    test = tmp_path / "test_it.py"
    test.write_text(
        "import numpy as np\nfrom graphprune.operators import Dense\n"
        "from graphprune.testing import assert_adjoint\n"
        "class Wrong(Dense):\n    def linear(self, b, *inputs):\n"
        "        return super().forward(b, *inputs)\n"
        "def test_it():\n    assert_adjoint(Wrong(np.ones((2, 3)), np.ones(2)), (3,))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert "linear is not forward without the offset" in done.stdout
    assert (
        "assertions.py" not in done.stdout.split("short test summary")[0].split("test_it.py:8")[0]
    )
