"""Products: planes and images at hostile boxes, graphs, and networks on both engines."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import Boxes, linear_bounds, pre_activation_bounds
from graphprune.bounds.engines import using_engine
from graphprune.bounds.propagate import optimised_bounds
from graphprune.bounds.protocol import Ascent, EngineName
from graphprune.functions import Product
from graphprune.ir import GraphBuilder
from graphprune.ir.network import BATCH, is_paired, operator, size
from graphprune.region import Ball, Domain
from graphprune.runtime.reference import forward64
from graphprune.runtime.session import Executable
from tests.canonical.models import model_of, node

ENGINES: list[EngineName] = ["compact", "graph"]
ENDS = (
    st.floats(-6, 6, width=32) | st.floats(-2.0**60, 2.0**60, width=32)
    | st.sampled_from([0.0, 1.4e-45, -1.2e-38, 1e19])
)  # fmt: skip
RANGES = st.tuples(ENDS, ENDS).map(sorted)


def single(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=np.float32).astype(np.float64)


def of(count: int) -> Product:
    return Product((2, count))


@settings(max_examples=60)
@given(st.lists(st.tuples(RANGES, RANGES), min_size=1, max_size=6), st.floats(0, 1))
def test_planes_and_images_enclose_the_product(
    boxes: list[tuple[list[float], list[float]]], share: float
) -> None:
    n, rng = len(boxes), np.random.default_rng(len(boxes))
    lower, upper = (single(*(b[k][i] for k in (0, 1) for b in boxes))[None] for i in (0, 1))
    shares = np.concatenate([rng.uniform(0, 1, (200, 2 * n)), rng.integers(0, 2, (50, 2 * n))])
    z = np.clip(lower + (upper - lower) * shares, lower, upper)
    x, y = z[:, :n], z[:, n:]
    low, high = of(n).interval(lower, upper)
    assert np.all((low <= of(n).value(z)) & (of(n).value(z) <= high))
    first, other, mean = (of(n).lines(lower, upper, m) for m in ("crown", "alternative", "fastlin"))
    mixed = tuple((1 - share) * a + share * b for a, b in zip(first, other, strict=True))
    for ls, lo, us, uo in (first, other, mean, mixed):
        below, above = (
            (slope * z + offset).reshape(-1, 2, n) for slope, offset in ((ls, lo), (us, uo))
        )
        terms = sum(np.abs(s * z).reshape(-1, 2, n).sum(1) for s in (ls, us)) + np.abs(x * y)
        terms = terms + sum(np.abs(o).reshape(-1, 2, n).sum(1) for o in (lo, uo))
        assert np.all(below.sum(1) <= x * y + 1e-14 * terms)
        assert np.all(above.sum(1) >= x * y - 1e-14 * terms)


def test_planes_are_mccormicks() -> None:
    """On [-1, 3] x [2, 5]."""
    lower, upper = single(-1, 2)[None], single(3, 5)[None]
    planes = {
        (*lines[k][0], round(lines[k + 1].sum(), 4))
        for lines in (of(1).lines(lower, upper, method) for method in ("crown", "alternative"))
        for k in (0, 2)
    }
    assert planes == {(2, -1, 2), (5, 3, -15), (2, 3, -6), (5, -1, 5)}


def test_graphs_are_the_product_and_its_derivative() -> None:
    op, rng = Product((2, 3, 2)), np.random.default_rng(0)
    b = GraphBuilder("float32")
    z, rows = (b.input(name, [BATCH, 2, 3, 2]) for name in ("z", "rows"))
    b.output(op.forward(b, z), "h")
    b.output(op.derivative(b, z, rows), "d")
    points, weights = (rng.normal(size=(4, 2, 3, 2)) for _ in range(2))
    feeds = {"z": points.astype(np.float32), "rows": weights.astype(np.float32)}
    h, d = Executable(b.build("product"))(feeds)
    assert np.allclose(h, op.value(points), atol=1e-5)
    step = 1e-6 * rng.normal(size=points.shape)
    change = (op.value(points + step) - op.value(points - step)) / 2
    assert np.allclose((d * step).sum((1, 2, 3)), (weights * change).sum((1, 2, 3)), atol=1e-9)


def networks() -> dict[str, gp.Network]:
    rng = np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    nodes: dict[str, list[Any]] = {
        "gate": [
            node("Gemm", "x a", "u"), node("Gemm", "x b", "g"), node("Tanh", "g", "t"),
            node("Mul", "u t", "m"), node("Gemm", "m c"),
        ],
        "attention": [
            node("Reshape", "x s", "r"), node("MatMul", "r q", "k"), node("Relu", "k", "h"),
            node("Transpose", "r", "rt", perm=[0, 2, 1]), node("MatMul", "h rt", "w"),
            node("Softmax", "w", "p", axis=-1), node("MatMul", "p r", "o"), node("Flatten", "o"),
        ],
    }  # fmt: skip
    shape = {"gate": 4, "attention": 6}
    constants = {
        "gate": {"a": weights(4, 5), "b": weights(4, 5), "c": weights(5, 3)},
        "attention": {"s": np.array([-1, 3, 2]), "q": weights(2, 2)},
    }
    return {
        name: gp.from_proto(model_of(nodes[name], ["n", shape[name]], constants=constants[name]))
        for name in nodes
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["gate", "attention"])
def test_bounds_hold_by_every_method(name: str, engine: EngineName) -> None:
    network = networks()[name]
    assert any(is_paired(operator(a)) for a in network.activations)
    ball = Ball(np.full(network.input_shape, 0.3), 0.4, Domain(-1, 1))
    rng = np.random.default_rng(1)
    x = rng.uniform(ball.lower, ball.upper, (400, *network.input_shape))
    x[200:] = np.where(rng.random((200, *network.input_shape)) < 0.5, ball.lower, ball.upper)
    logits, *values = forward64(network, x)
    rows = np.concatenate([np.eye(network.classes), -np.eye(network.classes)])
    best = (logits @ rows.T).min(axis=0)
    found = {}
    with using_engine(engine):
        for method in ("ibp", "fastlin", "fastlin-ibp", "crown", "alpha-crown"):
            boxes = Boxes.of(ball)
            layers = pre_activation_bounds(network, boxes, method)
            if method == "alpha-crown":
                layers = optimised_bounds(network, boxes, layers)
            for layer, z in zip(layers, values, strict=True):
                flat = z.reshape(len(x), -1)
                assert np.all((layer.lower[0] <= flat) & (flat <= layer.upper[0])), method
            found[method] = linear_bounds(network, boxes, layers, rows, method)[0]
            assert np.all(found[method] <= best), method
    assert found["alpha-crown"].mean() > found["crown"].mean()


@pytest.mark.parametrize("engine", ENGINES)
def test_mixtures_find_the_convex_envelope(engine: EngineName) -> None:
    """x y and a plane is least in a corner, and so is the envelope."""
    split = node("Split", "x", "u v", axis=1)
    model = model_of([split, node("Mul", "u v", "p"), node("Concat", "p x", axis=1)], ["n", 2])
    network = gp.from_proto(model)
    rng = np.random.default_rng(2)
    with using_engine(engine):
        for _ in range(10):
            ball = Ball(rng.normal(size=2), 1.0, Domain(-10, 10))
            rows = np.column_stack([np.ones(4) * [1, -1, 1, -1], rng.normal(size=(4, 2))])
            corners = forward64(
                network, np.array([*itertools.product(*np.stack([ball.lower, ball.upper]).T)])
            )[0]
            boxes = Boxes.of(ball)
            layers = pre_activation_bounds(network, boxes, "crown")
            bound = linear_bounds(
                network, boxes, layers, rows, "alpha-crown", ascent=Ascent(steps=100)
            )[0]
            least = (corners @ rows.T).min(axis=0)
            assert np.all(bound <= least)
            assert np.all(bound >= least - 0.02)


def test_factors_are_bounded_once() -> None:
    """The 3 x 2 scores' factors, not 3 x 3 x 2 pairs of them; shares are their own."""
    network = networks()["attention"]
    kinds = [(type(operator(a)).__name__, size(a.outputs[0])) for a in network.activations]
    assert kinds == [
        ("Relu", 6), ("Product", 36), ("Factor", 9), ("Softplus", 6), ("Softplus", 9),
        ("Sigmoid", 9), ("Product", 36), ("Factor", 6),
    ]  # fmt: skip
