"""Fusion of convolutions and branches: exact for every geometry, and silent where it is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.ir import GraphBuilder, Network
from graphprune.ir.network import BATCH, AffineOperator, operator
from graphprune.ir.rebuild import NetworkBuilder
from graphprune.ir.source import Layout, Source
from graphprune.operators import Add, Conv, Dense, Relu, Reshape, Scale, Shift, Transpose
from graphprune.operators import merge as rules
from graphprune.operators.merge import merge, parallel
from graphprune.operators.simplify import simplify
from graphprune.runtime.reference import Reference
from graphprune.testing.arrays import weights
from tests.conftest import Floor
from tests.oracles import Perceptron

Draw = st.DrawFn


def run(ops: tuple[AffineOperator, ...], x: np.ndarray) -> np.ndarray:
    b = GraphBuilder(np.float64)
    value = b.input("x", [BATCH, *x.shape[1:]])
    for op in ops:
        value = op.forward(b, value)
    b.output(value, "y")
    out: np.ndarray = Reference(b.build("test"))({"x": x})[0]
    return out


@st.composite
def convolutions(draw: Draw, shape: tuple[int, ...]) -> Conv:
    """Any stride, pads, dilation, groups and kernel that fit `shape`."""
    channels, *sides = shape
    rank = len(sides)
    group = draw(st.sampled_from([g for g in (1, 2, 4) if channels % g == 0]))
    out = group * draw(st.integers(1, 2))
    pads = tuple(draw(st.integers(0, 2)) for _ in range(2 * rank))
    rooms = [side + pads[i] + pads[rank + i] for i, side in enumerate(sides)]
    kernel = tuple(draw(st.integers(1, min(3, room))) for room in rooms)
    dilations = tuple(
        draw(st.integers(1, 2)) if 2 * (k - 1) < room else 1
        for k, room in zip(kernel, rooms, strict=True)
    )
    strides = tuple(draw(st.integers(1, 3)) for _ in sides)
    weight = draw(weights(out, channels // group, *kernel))
    bias = draw(weights(out)) * draw(st.booleans())
    return Conv(weight, bias, shape, strides, pads, dilations, group)


@settings(max_examples=150)
@given(st.data(), st.integers(0, 1000))
def test_two_convolutions_are_one_or_stay(floor: Floor, data: st.DataObject, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = data.draw(st.sampled_from([1, 2]))
    shape = (
        data.draw(st.sampled_from([1, 2, 4])),
        *(data.draw(st.integers(3, 7)) for _ in range(rank)),
    )
    first = data.draw(convolutions(shape))
    second = data.draw(convolutions(first.output_shape()))
    x = rng.normal(size=(2, *shape))
    for one, two in ((first, second), (Shift(rng.normal(size=shape), shape), first)):
        made = merge(one, two)
        if made is not None:
            floor.checked(1, least=60)
            assert np.allclose(run(made, x), run((one, two), x))
            assert len(made) <= 2


def cases() -> dict[str, tuple[Conv, Conv, bool]]:
    r = np.random.default_rng(0)

    def conv(o: int, i: int, k: int, side: int, pad: int, stride: int = 1, group: int = 1) -> Conv:
        return Conv(
            r.normal(size=(o, i // group, k, k)), r.normal(size=o), (i, side, side),
            (stride, stride), (pad,) * 4, (1, 1), group,
        )  # fmt: skip

    return {
        "pool of disjoint windows stores more": (
            conv(4, 2, 2, 8, 0, 2),
            conv(4, 4, 2, 4, 0, 2, 4),
            False,
        ),
        "pool after a pointwise layer": (conv(4, 2, 1, 8, 0), conv(4, 4, 2, 8, 0, 2, 4), True),
        "pointwise before padding": (conv(4, 2, 1, 6, 0), conv(2, 4, 3, 6, 1), True),
        "pointwise after": (conv(8, 1, 3, 6, 1), conv(2, 8, 1, 6, 0), True),
        "padding over a live border": (conv(2, 2, 3, 6, 1), conv(2, 2, 3, 6, 1), False),
        "one that would grow": (conv(2, 2, 3, 16, 0), conv(2, 2, 3, 14, 0), False),
    }


@pytest.mark.parametrize("name", cases())
def test_where_convolutions_merge(name: str) -> None:
    first, second, merges = cases()[name]
    made = merge(first, second)
    assert (made is not None) == merges
    if made is not None:
        x = np.random.default_rng(1).normal(size=(2, *first.in_shape))
        assert np.allclose(run(made, x), run((first, second), x))
        assert sum(op.multiply_adds for op in made) <= first.multiply_adds + second.multiply_adds


def test_branches_of_one_value() -> None:
    r = np.random.default_rng(2)
    image = (3, 5, 5)
    wide = Conv(r.normal(size=(3, 3, 3, 3)), r.normal(size=3), image, (1, 1), (1,) * 4, (1, 1), 1)
    thin = Conv(r.normal(size=(3, 3, 1, 1)), r.normal(size=3), image, (1, 1), (0,) * 4, (1, 1), 1)
    odd = Conv(
        r.normal(size=(3, 3, 2, 2)), r.normal(size=3), image, (1, 1), (1, 1, 0, 0), (1, 1), 1
    )
    depth = Conv(r.normal(size=(3, 1, 3, 3)), r.normal(size=3), image, (1, 1), (1,) * 4, (1, 1), 3)
    square = Dense(r.normal(size=(4, 4)), r.normal(size=4))
    scale = Scale(r.normal(size=(4,)), (4,))
    x, v = r.normal(size=(2, *image)), r.normal(size=(2, 4))
    for first, second, point in (
        (wide, thin, x), (thin, wide, x), (wide, odd, x), (wide, None, x), (None, depth, x),
        (square, square, v), (square, None, v), (scale, scale, v), (None, scale, v),
    ):  # fmt: skip
        made = parallel(first, second)
        assert made is not None, (first, second)
        sides = [point if op is None else run((op,), point) for op in (first, second)]
        assert np.allclose(run((made,), point), sides[0] + sides[1])
    assert parallel(wide, depth) is None
    assert parallel(Dense(np.ones((2, 4)), np.zeros(2)), None) is None


def network_of(shape: tuple[int, ...], make) -> Network:  # type: ignore[no-untyped-def]
    import onnx

    builder = NetworkBuilder("x", shape)
    model = builder.finish(make(builder, builder.input))
    layout = Layout((10007, *shape), 0)
    source = Source(
        onnx.ModelProto(), None, "", "x", "y", layout, layout, None, np.dtype(np.float32), "y"
    )
    return Network(model, source)


def kinds(network: Network) -> list[str]:
    return [type(operator(node)).__name__ for node in network.nodes]


def test_graphs_shrink_to_their_activations() -> None:
    """Skips, shifts in branches and data movement leave nothing behind."""
    r = np.random.default_rng(3)

    def residual(b: NetworkBuilder, x):  # type: ignore[no-untyped-def]
        conv = Conv(
            r.normal(size=(2, 2, 3, 3)), r.normal(size=2), (2, 4, 4), (1, 1), (1,) * 4, (1, 1), 1
        )
        h = b.add(Relu(), b.add(conv, x))
        branch = b.add(Shift(r.normal(size=(2, 4, 4)), (2, 4, 4)), b.add(conv, h))
        total = b.add(Add(), b.add(Shift(np.ones((2, 1, 1)), (2, 4, 4)), h), branch)
        turned = b.add(Transpose((1, 2, 0), (2, 4, 4)), total)
        flat = b.add(Reshape((4, 4, 2), (32,)), turned)
        return b.add(Dense(r.normal(size=(3, 32)), r.normal(size=3)), flat)

    before = network_of((2, 4, 4), residual)
    after = simplify(before)
    assert kinds(after) == ["Conv", "Relu", "Conv", "Reshape", "Dense"]
    x = r.normal(size=(3, 2, 4, 4))
    from graphprune.runtime.reference import forward64

    assert np.allclose(forward64(before, x)[0], forward64(after, x)[0])
    assert after.multiply_adds < before.multiply_adds


def test_every_parallel_rule_is_tried() -> None:
    assert set(rules.PARALLEL) == {
        (Dense, Dense), (Dense, type(None)), (Scale, Scale), (Scale, type(None)), (Conv, Conv),
        (Conv, type(None)),
    }  # fmt: skip


def test_terms_that_cancel_are_not_merged() -> None:
    """2^30 (2^30 x) + x - 2^30 (2^30 x): float64 has no room for the x, and its slope were 0."""
    big = 2.0**30
    first, second = np.array([[big], [1.0], [big]]), np.array([[big, 1.0, -big]])
    assert (second @ first).item() == 0.0
    zero = np.zeros(3), np.zeros(1)
    assert merge(Dense(first, zero[0]), Dense(second, zero[1])) is None
    one = (1, 1)
    pointwise = [
        Conv(w.reshape(*w.shape, 1, 1), b, (w.shape[1], 2, 2), one, (0,) * 4, one, 1)
        for w, b in ((first, zero[0]), (second, zero[1]))
    ]
    assert merge(*pointwise) is None
    # What is zero, or cancels a little, is merged as before.
    assert merge(Dense(np.zeros((3, 2)), zero[0]), Dense(second, zero[1])) is not None
    less = np.array([[2.0**5, 1.0, -(2.0**5)]])
    assert merge(Dense(np.ones((3, 1)), zero[0]), Dense(less, zero[1])) is not None


def test_a_certificate_holds_where_terms_cancel() -> None:
    net = Perceptron(
        [np.array([[2.0**30], [1.0], [2.0**30]]), np.array([[2.0**30, 1.0, -(2.0**30)]]),
         np.array([[1.0], [0.0]])],
        [np.zeros(3), np.zeros(1), np.array([0.0, 0.5])],
    )  # fmt: skip
    model = net.model()
    relu = next(n for n in model.graph.node if n.op_type == "Relu")
    relu.op_type = "Identity"  # two affine layers, and then the ReLU
    network = gp.from_proto(model)
    proof = gp.certify(network, gp.Anchor(np.array([0.2], np.float32), 1))
    assert proof.radius <= 0.3
    assert not proof.complete
