"""Networks of every function: bounds of both engines, gradients, radii, substitutes, refusals."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import graphprune as gp
from graphprune import transforms
from graphprune.bounds import (
    METHODS,
    Boxes,
    linear_bounds,
    optimised_bounds,
    pre_activation_bounds,
    using_engine,
)
from graphprune.errors import GraphpruneError
from graphprune.functions import Tanh
from graphprune.region import Box
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import Executable
from tests.functions.compositions import COMPOSED, CONSTANTS
from tests.oracles import Perceptron

EVERYWHERE = [
    "Sigmoid", "Tanh", "Softplus", "Elu", "Selu", "Celu", "HardSwish", "Softsign", "Exp", "Erf",
    "Sin", "Cos", "Atan", "Sinh", "Cosh", "Gelu", "Mish",
]  # fmt: skip
POSITIVE = ["Log", "Sqrt", "Reciprocal"]
PARTS: dict[str, list[tuple[Any, ...]]] = {
    "silu": [("Sigmoid", "z", "s"), ("Mul", "z s", "h")],
    "square": [("Mul", "z z", "h")],
    "gate": [("Tanh", "z", "s"), ("Sin", "z", "t"), ("Mul", "s t", "h")],
    "quotient": [("Softplus", "z", "s"), ("Div", "z s", "h")],
    "cube": [("Mul", "z third", "s"), ("Pow", "s three", "h")],
    "power": [("Softplus", "z", "s"), ("Pow", "s third", "h")],
    **{op: [("Softplus", "z", "s"), (op, "s", "h")] for op in POSITIVE},
    **{op: [(op, "z", "h")] for op in EVERYWHERE},
}  # fmt: skip


# Two functions in one network.
PAIRS = list(zip(list(PARTS)[::2], list(PARTS)[1::2], strict=True))


def network_of(*kinds: str, seed: int = 0, count: int = 2) -> gp.Network:
    """A layer of each function, three classes; a tie at (0.55, 0.45), or 0.55."""
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [count, 6, 5, 3])
    net.weights[1] *= 0.5
    model = net.model()
    model.opset_import[0].version, model.ir_version = 20, 9
    nodes, left = list(model.graph.node), list(kinds)
    del model.graph.node[:]
    for node in nodes:
        if node.op_type != "Relu":
            model.graph.node.append(node)
            continue
        names = {"z": node.input[0], "h": node.output[0], "s": f"{node.output[0]}_s"}
        names |= {name: f"{node.output[0]}_{name}" for name in "tuvw"}
        for op, inputs, output, *attributes in {**PARTS, **COMPOSED}[left.pop(0)]:
            read = [names.get(name, name) for name in inputs.split()]
            options: dict[str, Any] = attributes[0] if attributes else {}
            model.graph.node.append(helper.make_node(op, read, [names[output]], **options))
    numbers = {"third": np.float32(1 / 3), "three": np.float32(3.0), **CONSTANTS}
    for name, array in numbers.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    bias = next(t for t in model.graph.initializer if t.name == "b2")
    tie = forward64(gp.from_proto(model), np.array([[0.55, 0.45]])[:, :count])[0][0]
    shifted = onnx.numpy_helper.to_array(bias) - tie
    bias.CopyFrom(onnx.numpy_helper.from_array(shifted.astype(np.float32), "b2"))
    return gp.from_proto(model)


def anchor_of(network: gp.Network) -> gp.Anchor:
    x = np.array([0.4, 0.6], np.float32)
    return gp.Anchor(x, int(run_original(network, x[None])[0].argmax()))


@pytest.mark.parametrize("kinds", PAIRS, ids=str)
def test_bounds_hold_by_every_method_and_engine(kinds: tuple[str, str]) -> None:
    network = network_of(*kinds)
    rng = np.random.default_rng(1)
    centres, radius = rng.uniform(0, 1, (3, 1, 2)), np.array([0.3, 0.05, 1e-4]).reshape(3, 1, 1)
    boxes = Boxes.of(*(Box(c[0] - r[0], c[0] + r[0]) for c, r in zip(centres, radius, strict=True)))
    points = centres + radius * rng.uniform(-1, 1, (3, 400, 2)).round(rng.integers(0, 2))
    logits, *values = (v.reshape(3, 400, -1) for v in forward64(network, points.reshape(-1, 2)))
    rows = np.array([[1.0, -1.0, 0.0], [-1.0, 0.0, 1.0]])
    least = (logits @ rows.T).min(axis=1)
    for engine in ("compact", "graph"):
        with using_engine(engine):
            for method in METHODS:
                if method == "fastlin" and set(kinds) & {*POSITIVE, "power"}:
                    continue  # its chords reach below the values of a Softplus
                layers = pre_activation_bounds(network, boxes, method)
                if method == "alpha-crown" and engine == "compact":
                    layers = optimised_bounds(network, boxes, layers)
                for layer, z in zip(layers, values, strict=True):
                    assert np.all(z >= layer.lower[:, None]), (engine, method)
                    assert np.all(z <= layer.upper[:, None]), (engine, method)
                found = linear_bounds(network, boxes, layers, rows, method)
                assert np.all(found <= least + 1e-12 * (1 + np.abs(least))), (engine, method)
                if method == "crown":  # on the smallest box nearly exact
                    assert np.all(found[2] >= least[2] - 2e-3 * (1 + np.abs(least[2])))


def check_gradients(network: gp.Network) -> None:
    """Gradients in two inputs are differences of the values at both sides of points."""
    x = np.random.default_rng(2).uniform(0, 1, (8, 2))
    rows = np.tile([1.0, -2.0, 0.5], (8, 1)).astype(np.float32)
    run = Executable(transforms.gradient(network))
    _, found = run({"x": x.astype(np.float32), "rows": rows})
    step = 1e-6 * np.eye(2)
    sides = [forward64(network, x + side)[0] @ rows[0] for side in (*step, *-step)]
    numeric = np.stack([sides[0] - sides[2], sides[1] - sides[3]], axis=1) / 2e-6
    assert np.allclose(found, numeric, rtol=2e-3, atol=2e-3 * np.abs(numeric).max())


@pytest.mark.parametrize("kinds", PAIRS, ids=str)
def test_gradients_are_differences_of_values(kinds: tuple[str, str]) -> None:
    check_gradients(network_of(*kinds))


@pytest.mark.parametrize("kinds", PAIRS[::2], ids=str)
def test_attacks_and_radii_and_substitutes(kinds: tuple[str, str]) -> None:
    network = network_of(*kinds)
    anchor = anchor_of(network)
    witness = gp.attack(network, anchor).witness
    assert witness is not None
    radius = gp.certify(network, anchor).radius
    assert 0.0 < radius <= witness.distance
    points = np.clip(anchor.x + np.random.default_rng(3).uniform(-radius, radius, (500, 2)), 0, 1)
    assert np.all(forward64(network, points)[0].argmax(axis=1) == anchor.label)
    same = forward64(network, anchor.x[None].astype(np.float64))[0]
    for text in (
        "attack, bounds, prune-constant{gamma=0.5}", "attack, linearize-secant{layers=2}",
        "attack, bounds, substitute{by=relaxation rank=range gamma=0.5}",
    ):  # fmt: skip
        result = gp.Pipeline.parse(text).run(network, anchor).network
        assert np.allclose(forward64(result, anchor.x[None])[0], same, atol=1e-9)
        written = gp.from_proto(gp.to_proto(result))
        x = points[:20].astype(np.float32)
        assert np.allclose(run_original(written, x), forward64(result, x)[0], atol=1e-3)


@pytest.mark.parametrize("kind", POSITIVE)
def test_a_ball_beyond_the_domain_is_refused_with_the_bounds(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,1] x) => (float[N,2] y) <float[1] s = {{0.5}}, float[1,2] w = {{1.0, -1.0}}> {{
          z = Sub (x, s)
          h = {kind} (z)
          y = MatMul (h, w)
        }}"""
    network = gp.from_proto(onnx.parser.parse_model(text))
    box = Box(np.array([0.2]), np.array([0.9]))
    for method in METHODS:
        with pytest.raises(
            GraphpruneError, match=rf"node 'h' \({kind}\): not defined .*-0\.3, 0\.4"
        ):
            gp.hidden_bounds(network, box, method=method)
    x = np.array([0.7], np.float32)
    found = gp.certify(network, gp.Anchor(x, int(run_original(network, x[None])[0].argmax())))
    assert 0.19 < found.radius < 0.2 + 1e-9
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith(f"the certified radius ends at {found.radius:.6g}: node 'h' ({kind})")


def test_lines_of_curves_are_found_once_for_all_problems_on_their_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    lines = Tanh.lines

    def counted(op: Tanh, lower: np.ndarray, upper: np.ndarray, method: str) -> object:
        asked.append(method)
        return lines(op, lower, upper, method)

    monkeypatch.setattr(Tanh, "lines", counted)
    network = network_of("Tanh", "Tanh")
    boxes = Boxes.of(Box(np.zeros(2), np.ones(2)))
    layers = pre_activation_bounds(network, boxes)
    for method in ("crown", "alpha-crown", "crown"):
        linear_bounds(network, boxes, layers, np.eye(3), method)
    assert sorted(asked) == ["alternative"] * 2 + ["crown"] * 2
