"""Laws of every registered scalar function: images and lines hold, and are tight; graphs agree."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graphprune import functions
from graphprune.functions import (
    Atan,
    Ceil,
    Cos,
    Cosh,
    Elu,
    Erf,
    Exp,
    Floor,
    Gelu,
    GeluTanh,
    HardSwish,
    Log,
    Mish,
    NearestInteger,
    Power,
    Reciprocal,
    ScalarFunction,
    Selu,
    Sigmoid,
    Sign,
    Silu,
    Sin,
    Sinh,
    Softplus,
    Softsign,
    Sqrt,
    Step,
    Tanh,
)
from graphprune.ir import GraphBuilder
from graphprune.ir.network import BATCH
from graphprune.operators import REGISTRY, Relu
from graphprune.runtime.reference import Reference
from graphprune.runtime.session import Executable

EVERYWHERE: list[ScalarFunction] = [
    Atan(), Cos(), Elu(), Erf(), Gelu(), GeluTanh(), HardSwish(), Mish(), Power(), Selu(),
    Sigmoid(), Silu(), Sin(), Softplus(), Softsign(), Tanh(), Power(3.0), Elu(2.0), Elu(0.5, 0.5),
    Elu(3.0, 3.0), GeluTanh(0.05), GeluTanh(0.04), Exp(), Cosh(), Sinh(),
]  # fmt: skip
PARTLY: list[ScalarFunction] = [
    Log(), Reciprocal(), Sqrt(), Power(-1.0), Power(-2.0), Power(0.5), Power(1.5), Power(-0.5),
    Power(-3.0),
]  # fmt: skip
JUMPS: list[ScalarFunction] = [
    Softplus(1.0),
    Ceil(),
    Floor(),
    NearestInteger(),
    Sign(),
    Step(),
    Step(1.0),
]
CONTINUOUS = [*EVERYWHERE, *PARTLY]
ALL = [*CONTINUOUS, *JUMPS]

METHODS = st.sampled_from(["crown", "fastlin", "alternative"])
# Wide, of the usual size, and close together; denormal and huge numbers among them.
PLACES = (
    st.floats(-6, 6) | st.floats(-1e4, 1e4) | st.floats(-1e-3, 1e-3) | st.floats(-1e30, 1e30)
    | st.sampled_from([0.0, -0.0, 5e-324, -1e-310, 1e-45, 1.2e-38, 20.0, 88.0, -104.0, 3e38])
)  # fmt: skip
WIDTHS = st.floats(0, 8) | st.floats(0, 1e-6) | st.floats(0, 1e5) | st.sampled_from([0.0, 1e-300])


def between(op: ScalarFunction, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Points (P, N) of intervals (N,): dense, near 0, near the ends, where the function turns."""
    borders = [p for a, b, _ in op.pieces(lower, upper) for p in (a, b)]
    turns = np.stack([*borders, *op.critical(lower, upper), lower, upper])
    near = (turns[:, None] + np.linspace(-1e-3, 1e-3, 9)[:, None]).reshape(-1, len(lower))
    shares = np.concatenate([np.linspace(0, 1, 201), np.geomspace(1e-18, 1, 40)])[:, None]
    usual = np.linspace(-8, 8, 161)[:, None] + np.zeros(len(lower))
    points = [lower + (upper - lower) * shares, usual, near, turns]
    clipped: np.ndarray = np.clip(np.concatenate(points), lower, upper)
    return clipped


def test_every_function_has_an_example() -> None:
    known = {cls for cls in REGISTRY.values() if issubclass(cls, ScalarFunction)}
    assert {type(op) for op in ALL} == known
    assert {getattr(functions, name) for name in functions.__all__} >= known


@pytest.mark.parametrize("op", ALL, ids=str)
@settings(max_examples=12)
@example([(-5.0, 10.0), (0.0, 0.0), (-3.0, 3.0), (1e-40, 2.0)], "crown")
@example([(-5.0, 10.0), (0.0, 0.0), (-3.0, 3.0), (1e-40, 2.0)], "alternative")
@given(ranges=st.lists(st.tuples(PLACES, WIDTHS), min_size=1, max_size=12), method=METHODS)
def test_lines_and_images_enclose_the_curve(
    op: ScalarFunction, ranges: list[tuple[float, float]], method: str
) -> None:
    lower, width = np.array([*ranges, (1.0, 1.0)]).T
    defined = ~op.undefined(lower, lower + width)
    lower, upper = lower[defined], (lower + width)[defined]
    with np.errstate(all="ignore"):
        z = between(op, lower, upper)
        value = op.value(z)
        low, high = op.interval(lower, upper)
        assert np.all((low <= value) & (value <= high))
        lines = np.array(op.lines(lower, upper, method))
        assert np.array_equal(lines, lines.astype(np.float32))
        ls, lo, us, uo = lines
        # Evaluating the line in float64 rounds by less than this.
        slack = 1e-15 * (np.abs(value) + np.abs(ls * z) + np.abs(us * z))
        known = np.isfinite(value)
        assert np.all((ls * z + lo <= value + slack)[known])
        assert np.all((value <= us * z + uo + slack)[known])


@pytest.mark.parametrize("op", CONTINUOUS, ids=str)
def test_lines_are_tight_in_the_middle(op: ScalarFunction) -> None:
    """The best line above passes the middle at the concave envelope, which chords of samples find."""
    rng = np.random.default_rng(0)
    lower, width = rng.uniform(-5, 5, 40), rng.uniform(0.01, 6, 40)
    lower = np.abs(lower) + 0.05 if op in PARTLY else lower
    upper, middle = lower + width, lower + width / 2
    half = np.linspace(0.0, 0.5, 61)[:, None]
    borders = np.stack([p for a, b, _ in op.pieces(lower, upper) for p in (a, b)])
    left = np.concatenate([lower + width * half, np.minimum(borders, middle)])[:, None]
    right = np.concatenate([middle + width * half, np.maximum(borders, middle)])[None]
    part = (middle - left) / np.maximum(right - left, 1e-12)
    chords = op.value(left) * (1 - part) + op.value(right) * part
    value = np.concatenate([op.value(left[:, 0]), op.value(right[0])])
    ls, lo, us, uo = op.lines(lower, upper, "crown")
    room = 2e-3 * (value.max(axis=0) - value.min(axis=0)) + 1e-6 * (1 + np.abs(value).max(axis=0))
    assert np.all(us * middle + uo <= chords.max(axis=(0, 1)) + room)
    assert np.all(ls * middle + lo >= chords.min(axis=(0, 1)) - room)


def points_of(op: ScalarFunction) -> np.ndarray:
    z = np.linspace(-7, 7, 57) + 1e-3
    return np.abs(z) + 0.1 if op in PARTLY else z


@pytest.mark.parametrize("op", [*CONTINUOUS, Relu()], ids=str)
def test_derivative_graph_is_the_derivative(op: ScalarFunction) -> None:
    z = points_of(op)
    b = GraphBuilder(np.float32)
    x, rows = b.input("z", [BATCH, 57]), b.input("rows", [BATCH, 57])
    b.output(op.derivative(b, x, rows), "slope")
    single = z.astype(np.float32)
    got = Executable(b.build("d"))({"z": single[None], "rows": np.full((1, 57), 2, np.float32)})[0]
    at, step = single.astype(np.float64), 1e-5
    numeric = (op.value(at + step) - op.value(at - step)) / (2 * step)
    assert np.allclose(got[0], 2 * numeric, rtol=2e-4, atol=3e-5)
    low, high = op.slope_range(at - step, at + step)
    assert np.all(
        (numeric >= low - 1e-5 * (1 + abs(low))) & (numeric <= high + 1e-5 * (1 + abs(high)))
    )


@pytest.mark.parametrize("op", ALL, ids=str)
def test_forward_is_onnx_runtimes(op: ScalarFunction) -> None:
    z = points_of(op).astype(np.float32)
    results = []
    for dtype, run in ((np.float32, Executable), (np.float64, Reference)):
        b = GraphBuilder(dtype)
        b.output(op.forward(b, b.input("z", [BATCH, 57])), "y")
        results.append(run(b.build("f"))({"z": z.astype(dtype)[None]})[0][0])
    exact = op.value(z.astype(np.float64))
    assert np.allclose(results[0], exact, rtol=2e-6, atol=2e-6)
    assert results[1].dtype == np.float64
    assert np.allclose(results[1], exact, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("op", [op for op in EVERYWHERE if op.bends or op.extrema], ids=str)
def test_pieces_and_extrema_are_where_the_class_says(op: ScalarFunction) -> None:
    z = np.linspace(-9, 9, 36001)
    slope = op.slope(z)
    steps = np.diff(slope)
    turns = z[1:-1][(steps[1:] * steps[:-1] < 0) & (abs(steps[1:]) > 1e-12)]
    places = np.array([*op.bends, *op.extrema])
    assert all(np.min(np.abs(places - turn)) < 2e-3 for turn in turns if abs(turn) < 6)
    for place in op.extrema:
        assert abs(op.slope(np.array(place))) < 1e-12


@pytest.mark.parametrize("op", EVERYWHERE, ids=str)
def test_the_other_line_is_another_one(op: ScalarFunction) -> None:
    """alpha-CROWN has something to choose from."""
    ends = np.array([[-2.0]]), np.array([[1.0]])
    best, other = op.lines(*ends, "crown"), op.lines(*ends, "alternative")
    assert any(abs(best[i] - other[i]).max() > 0.01 for i in (0, 2))


@pytest.mark.parametrize(
    ("op", "lower", "upper"),
    [(Log(), 0.0, 1.0), (Log(), -1.0, 1.0), (Sqrt(), -1e-9, 1.0), (Reciprocal(), -1.0, 1.0),
     (Power(-2.0), 0.0, 1.0), (Power(1.5), -1.0, 1.0), (Log(), np.nan, 1.0)],
)  # fmt: skip
def test_intervals_beyond_the_domain_are_known(
    op: ScalarFunction, lower: float, upper: float
) -> None:
    assert op.undefined(np.array([lower]), np.array([upper])).all()
    assert not op.undefined(np.array([0.5]), np.array([1.0])).any()
