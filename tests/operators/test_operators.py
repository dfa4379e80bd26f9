"""Laws every registered operator obeys."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given

from graphprune.errors import GraphpruneError
from graphprune.functions import Factor, Product, ScalarFunction
from graphprune.ir import GraphBuilder, Network
from graphprune.ir.network import BATCH, AffineOperator, Operator, Shape, is_affine, operator
from graphprune.operators import (
    REGISTRY,
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Gather,
    MatMul,
    Pad,
    ReduceSum,
    Relu,
    Reshape,
    Scale,
    Shift,
    Transpose,
    register,
)
from graphprune.operators.merge import PAIRS, merge
from graphprune.operators.simplify import simplify
from graphprune.runtime.reference import Reference, forward64
from graphprune.testing import assert_adjoint, networks
from tests.conftest import Floor, random_points

RNG = np.random.default_rng(0)

# One example or more of every operator, with its input sample shapes.
EXAMPLES: list[tuple[Operator, list[tuple[int, ...]]]] = [
    (Add(), [(3, 4), (3, 4)]),
    (Concat(1, ((3, 1, 2), (3, 4, 2), (3, 2, 2))), [(3, 1, 2), (3, 4, 2), (3, 2, 2)]),
    (Dense(RNG.normal(size=(3, 5)), RNG.normal(size=3)), [(5,)]),
    (Gather(1, np.arange(1, 4), (3, 5)), [(3, 5)]),
    (Gather(0, np.array([0, 2, 4]), (5, 2)), [(5, 2)]),
    (Gather(1, np.array([3, 0]), (2, 4, 3)), [(2, 4, 3)]),
    (Gather(2, np.array([1, 1, 0, 3, 1]), (2, 3, 4)), [(2, 3, 4)]),
    (Gather(0, np.zeros(4, np.int64), (1, 2)), [(1, 2)]),
    (Pad((0, 1), (2, 3), (3, 4)), [(3, 4)]),
    (ReduceSum((0, 2), (3, 4, 2)), [(3, 4, 2)]),
    (MatMul(RNG.normal(size=(4, 2)), False, (3, 4)), [(3, 4)]),
    (MatMul(RNG.normal(size=(2, 3)), True, (5, 3, 4)), [(5, 3, 4)]),
    (Relu(), [(2, 3)]),
    (Product((2, 3)), [(2, 3)]),
    (Factor(), [(2, 3)]),
    (Reshape((2, 6), (3, 4)), [(2, 6)]),
    (Scale(RNG.normal(size=(3, 1)) * [[1], [0], [1]], (3, 4)), [(3, 4)]),
    (Shift(RNG.normal(size=(3, 4)), (3, 4)), [(3, 4)]),
    (Transpose((2, 0, 1), (2, 3, 4)), [(2, 3, 4)]),
]
for _stride, _pads, _dilation, _group in [
    ((1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((2, 3), (1, 0, 2, 1), (1, 1), 2),
    ((3, 2), (0, 1, 0, 0), (2, 1), 1),
    ((2, 2), (3, 3, 3, 3), (1, 2), 2),
    ((4, 4), (0, 0, 0, 0), (1, 1), 4),
]:
    EXAMPLES.append(
        (
            Conv(
                RNG.normal(size=(4, 4 // _group, 2, 3)),
                RNG.normal(size=4),
                (4, 7, 8),
                _stride,
                _pads,
                _dilation,
                _group,
            ),
            [(4, 7, 8)],
        )
    )
    EXAMPLES.append(
        (
            ConvTranspose(
                RNG.normal(size=(4, 6 // _group if 6 % _group == 0 else 1, 2, 3)),
                RNG.normal(size=6 if 6 % _group == 0 else _group),
                (4, 3, 4),
                _stride,
                tuple(min(p, 1) for p in _pads),
                _dilation,
                tuple(s // 2 for s in _stride),
                _group,
            ),
            [(4, 3, 4)],
        )
    )

IDS = [f"{type(op).__name__}-{i}" for i, (op, _) in enumerate(EXAMPLES)]
AFFINE = [(op, s) for op, s in EXAMPLES if isinstance(op, AffineOperator)]


def run(emit, *arrays: np.ndarray) -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    b = GraphBuilder(np.float64)
    inputs = [b.input(f"i{k}", [BATCH, *a.shape[1:]]) for k, a in enumerate(arrays)]
    for k, value in enumerate(emit(b, *inputs)):
        b.output(value, f"o{k}")
    return Reference(b.build("test"))({f"i{k}": a for k, a in enumerate(arrays)})


def points(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    return [np.random.default_rng(1).normal(size=(3, *s)) for s in shapes]


def test_every_operator_has_an_example() -> None:
    curved = {name for name, cls in REGISTRY.items() if issubclass(cls, ScalarFunction)}
    assert {type(op).__name__ for op, _ in EXAMPLES} == set(REGISTRY) - curved


@pytest.mark.parametrize(("op", "shapes"), EXAMPLES, ids=IDS)
def test_output_shape(op: Operator, shapes: list[tuple[int, ...]]) -> None:
    out = run(lambda b, *i: [op.forward(b, *i)], *points(shapes))[0]
    assert out.shape[1:] == op.output_shape(*shapes)


@pytest.mark.parametrize(("op", "shapes"), AFFINE)
def test_adjoint_identity_and_linear_part(
    op: AffineOperator, shapes: list[tuple[int, ...]]
) -> None:
    """<A x, y> = <x, A' y>; forward is linear plus an offset."""
    assert_adjoint(op, *shapes)


@pytest.mark.parametrize(("op", "shapes"), AFFINE)
def test_absolute_dominates(op: AffineOperator, shapes: list[tuple[int, ...]]) -> None:
    """|A x + b| <= |A| |x| + |b|, with equality somewhere on sign patterns of a row."""
    x = points(shapes)
    image = run(lambda b, *i: [op.forward(b, *i)], *x)[0]
    absolute = op.absolute()
    bound = run(lambda b, *i: [absolute.forward(b, *i)], *(np.abs(a) for a in x))[0]
    assert np.all(np.abs(image) <= bound + 1e-12)
    again = run(lambda b, *i: [absolute.forward(b, *i)], *(np.abs(a) for a in x))[0]
    assert np.array_equal(bound, again)


@pytest.mark.parametrize(("op", "shapes"), AFFINE)
def test_reads_covers_every_influence(op: AffineOperator, shapes: list[tuple[int, ...]]) -> None:
    size = int(np.prod(op.output_shape(*shapes)))
    used = np.random.default_rng(3).random(size) < 0.4
    masks = op.reads(used)
    x = points(shapes)
    before = run(lambda b, *i: [op.forward(b, *i)], *x)[0].reshape(3, -1)[:, used]
    changed = [np.where(m.reshape(s), a, a + 7.0) for m, s, a in zip(masks, shapes, x, strict=True)]
    after = run(lambda b, *i: [op.forward(b, *i)], *changed)[0].reshape(3, -1)[:, used]
    assert np.allclose(before, after)


def pair_examples() -> list[tuple[AffineOperator, AffineOperator, tuple[int, ...]]]:
    r = np.random.default_rng(4)
    conv = Conv(
        r.normal(size=(4, 1, 2, 2)), r.normal(size=4), (2, 5, 5), (2, 1), (1, 0, 0, 1), (1, 1), 2
    )
    image, after = (2, 5, 5), conv.output_shape()
    channel = r.normal(size=(4, 1, 1))
    into = r.normal(size=(2, 1, 1))
    return [
        (Dense(r.normal(size=(2, 5)), r.normal(size=2)), Dense(r.normal(size=(3, 2)), r.normal(size=3)), (5,)),
        (Dense(r.normal(size=(3, 5)), r.normal(size=3)), Dense(r.normal(size=(2, 3)), r.normal(size=2)), (5,)),
        (Dense(r.normal(size=(3, 5)), r.normal(size=3)), Scale(r.normal(size=(3,)), (3,)), (5,)),
        (Dense(r.normal(size=(3, 5)), r.normal(size=3)), Shift(r.normal(size=(1,)), (3,)), (5,)),
        (Scale(r.normal(size=(5,)), (5,)), Dense(r.normal(size=(3, 5)), r.normal(size=3)), (5,)),
        (Shift(r.normal(size=(5,)), (5,)), Dense(r.normal(size=(3, 5)), r.normal(size=3)), (5,)),
        (conv, Scale(channel, after), image), (conv, Shift(channel, after), image),
        (conv, Scale(r.normal(size=after), after), image),
        (conv, Shift(r.normal(size=after), after), image),
        (Scale(into, image), conv, image), (Scale(r.normal(size=image), image), conv, image),
        (Scale(into, image), Scale(r.normal(size=image), image), image),
        (Shift(into, image), Shift(r.normal(size=image), image), image),
        (Shift(into, image), Scale(r.normal(size=image), image), image),
        (Reshape(image, (50,)), Reshape((50,), (5, 10)), image),
        (Reshape(image, (50,)), Reshape((50,), image), image),
        (Transpose((1, 2, 0), image), Transpose((1, 0, 2), (5, 5, 2)), image),
        (Transpose((1, 2, 0), image), Transpose((2, 0, 1), (5, 5, 2)), image),
        (Scale(into, image), Reshape(image, (50,)), image),
        (Shift(np.array(0.5), image), Reshape(image, (50,)), image),
        (Shift(r.normal(size=image), image), conv, image), (Shift(into, image), replace(conv, pads=(0,) * 4), image),
        (Pad((0, 1, 0), (0, 0, 2), image), replace(conv, in_shape=(2, 6, 7)), image),
        (Conv(r.normal(size=(2, 1, 1, 1)), np.zeros(2), image, (1, 1), (0,) * 4, (1, 1), 2), conv, image),
    ]  # fmt: skip


def test_every_pair_rule_keeps_the_composition() -> None:
    fired = set()
    for first, second, shape in pair_examples():
        merged = merge(first, second)
        if merged is None:
            continue
        fired.add((type(first), type(second)))
        x = np.random.default_rng(5).normal(size=(3, *shape))

        def chain(
            b: GraphBuilder, value: ir.Value, ops: tuple[AffineOperator, ...] = (first, second)
        ) -> list[ir.Value]:
            for op in ops:
                value = op.forward(b, value)
            return [value]

        expected = run(chain, x)[0]
        got = run(lambda b, v, ops=merged: chain(b, v, ops), x)[0] if merged else x
        assert np.allclose(got, expected), (first, second)
    assert fired == set(PAIRS)


@pytest.mark.parametrize("pair", [8, 9, 11])
def test_per_neuron_factors_do_not_merge_into_convolutions(pair: int) -> None:
    first, second, _ = pair_examples()[pair]
    assert merge(first, second) is None


def test_dense_layers_that_would_grow_are_not_merged() -> None:
    wide = Dense(np.ones((1, 20)), np.zeros(1)), Dense(np.ones((20, 1)), np.zeros(20))
    assert merge(*wide) is None


@given(networks())
def test_simplify_is_idempotent_and_keeps_the_function(network: Network) -> None:
    again = simplify(network)
    x = random_points(network)
    assert np.allclose(forward64(network, x)[0], forward64(again, x)[0])
    assert len(again.nodes) == len(network.nodes)


@given(networks())
def test_live_neurons_are_the_only_ones_that_matter(floor: Floor, network: Network) -> None:
    """Replacing dead neurons by anything changes nothing."""
    from graphprune.transforms.replace import Replacement, apply

    replacements = {}
    for i, activation in enumerate(network.activations):
        live = network.live(activation)
        floor.checked((~live).sum(), least=20)
        zero, nine = np.zeros(live.size), np.full(live.size, 9.0)
        replacements[i] = Replacement.nothing(live.size).with_lines(~live, zero, nine)
    x = random_points(network)
    changed = apply(network, replacements)
    assert np.allclose(forward64(network, x)[0], forward64(changed, x)[0])
    assert all(is_affine(n) or isinstance(operator(n), Relu) for n in changed.nodes)


@pytest.mark.parametrize(("op", "shapes"), AFFINE)
def test_matrices_are_the_linear_map(op: AffineOperator, shapes: list[tuple[int, ...]]) -> None:
    """Where an operator gives its sparse matrices itself, they are its linear form."""
    if not hasattr(op, "matrices"):
        pytest.skip("its matrix is made from its linear form")
    x = points(shapes)
    image = run(lambda b, *i: [op.linear(b, *i)], *x)[0].reshape(3, -1)
    parts = [m @ a.reshape(3, -1).T for m, a in zip(op.matrices(*shapes), x, strict=True)]
    assert np.allclose(sum(parts).T, image)


def test_an_operator_that_is_neither_affine_nor_an_activation_is_refused() -> None:
    class Half:
        def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
            return inputs[0]

        def output_shape(self, *shapes: Shape) -> Shape:
            return shapes[0]

    with pytest.raises(GraphpruneError, match="operator 'Half' lacks .*absolute.*rounding"):
        register(Half)
    assert "Half" not in REGISTRY


def test_fields_count_as_members() -> None:
    """Of a dataclass, without a default: the class itself does not have them."""
    members = {name: getattr(Relu, name) for name in dir(Relu) if not name.startswith("_")}
    del members["piecewise_linear"]
    mine = type("Mine", (), {**members, "__annotations__": {"piecewise_linear": bool}})
    assert not hasattr(mine, "piecewise_linear")
    try:
        register(mine)
    finally:
        REGISTRY.pop("Mine", None)
