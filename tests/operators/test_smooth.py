"""Smooth activations: intervals and lines hold, and lines are as tight as tangents and chords."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.ir import GraphBuilder
from graphprune.ir.network import BATCH
from graphprune.operators import Gelu, GeluTanh, Relu, Sigmoid, Softplus, Tanh
from graphprune.operators.smooth import Smooth
from graphprune.runtime.session import Executable

KINDS: list[Smooth] = [Sigmoid(), Tanh(), Softplus(), Gelu(), GeluTanh()]
# With a jump and a cube large enough to be seen.
VARIANTS: list[Smooth] = [Softplus(1.0), GeluTanh(0.05), GeluTanh(0.04)]
ends = st.floats(-1e4, 1e4) | st.floats(-6, 6) | st.floats(-1e-3, 1e-3)


def between(lower: float, upper: float) -> np.ndarray:
    dense = np.linspace(lower, upper, 2001)
    near = np.clip(np.linspace(-8, 8, 4001), lower, upper)
    return np.concatenate([dense, near])


@pytest.mark.parametrize("op", [*KINDS, *VARIANTS], ids=str)
@given(a=ends, b=ends, method=st.sampled_from(["crown", "fastlin", "alternative"]))
def test_lines_and_intervals_enclose_the_curve(op: Smooth, a: float, b: float, method: str) -> None:
    lower, upper = np.array([min(a, b)]), np.array([max(a, b)])
    z = between(lower[0], upper[0])
    value = op.value(z)
    low, high = op.interval(lower, upper)
    assert np.all((low <= value) & (value <= high))
    lines = [
        line.astype(np.float32).astype(np.float64)[0] for line in op.lines(lower, upper, method)
    ]
    # Evaluating the line in float64 rounds by less than this.
    slack = 1e-15 * (np.abs(value) + np.abs(z) + 1)
    assert np.all(lines[0] * z + lines[1] <= value + slack)
    assert np.all(value <= lines[2] * z + lines[3] + slack)


@pytest.mark.parametrize("op", KINDS, ids=lambda op: type(op).__name__)
@given(a=st.floats(-5, 5), b=st.floats(-5, 5))
def test_lines_are_tight_in_the_middle(op: Smooth, a: float, b: float) -> None:
    """The best line above passes the middle at the concave envelope, which chords of samples find."""
    lower, upper = np.array([min(a, b)]), np.array([max(a, b) + 1e-2])
    z = np.linspace(lower[0], upper[0], 301)
    value, middle = op.value(z), (lower[0] + upper[0]) / 2
    left, right = z[:151, None], z[None, 150:]
    part = (middle - left) / np.maximum(right - left, 1e-12)
    chords = op.value(left) * (1 - part) + op.value(right) * part
    ls, lo, us, uo = (line[0] for line in op.lines(lower, upper, "crown"))
    room = 0.02 * (value.max() - value.min()) + 1e-5
    assert us * middle + uo <= chords.max() + room
    assert ls * middle + lo >= chords.min() - room


@pytest.mark.parametrize("op", [*KINDS, *VARIANTS[1:], Relu()], ids=str)
def test_derivative_graph_is_the_derivative(op: Smooth) -> None:
    z = np.linspace(-7, 7, 57).reshape(1, -1) + 1e-3
    b = GraphBuilder(np.float32)
    x, rows = b.input("z", [BATCH, 57]), b.input("rows", [BATCH, 57])
    b.output(op.derivative(b, x, rows), "slope")
    got = Executable(b.build("d"))(
        {"z": z.astype(np.float32), "rows": np.full((1, 57), 2, np.float32)}
    )[0]
    step = 1e-6
    numeric = (op.value(z + step) - op.value(z - step)) / (2 * step)
    assert np.allclose(got, 2 * numeric, atol=2e-5)
    low, high = op.slopes
    assert np.all((numeric >= low - 1e-6) & (numeric <= high + 1e-6))


@pytest.mark.parametrize("op", [*KINDS, *VARIANTS], ids=str)
def test_forward_is_onnx_runtimes(op: Smooth) -> None:
    z = np.linspace(-30, 30, 101).reshape(1, -1)
    b = GraphBuilder(np.float32)
    b.output(op.forward(b, b.input("z", [BATCH, 101])), "y")
    got = Executable(b.build("f"))({"z": z.astype(np.float32)})[0]
    assert np.allclose(got, op.value(z.astype(np.float32).astype(float)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", [Gelu(), GeluTanh(), *VARIANTS[1:]], ids=str)
def test_gelu_dips_where_it_says(op: Smooth) -> None:
    low, _ = op.interval(np.array([-3.0]), np.array([0.0]))
    assert np.isclose(low[0], op.value(np.linspace(-1, -0.5, 100001)).min(), atol=1e-9)
    slopes = op.slope(np.linspace(-9, 9, 20001))
    turns = np.flatnonzero(np.diff(np.sign(np.diff(slopes))))
    assert np.allclose(np.linspace(-9, 9, 20001)[turns + 1][:2], op.inflections, atol=2e-3)


@pytest.mark.parametrize("op", KINDS, ids=str)
def test_the_other_line_is_another_one(op: Smooth) -> None:
    """alpha-CROWN has something to choose from."""
    ends = np.array([[-2.0]]), np.array([[1.0]])
    best, other = op.lines(*ends, "crown"), op.lines(*ends, "alternative")
    assert any(abs(best[i] - other[i]).max() > 0.01 for i in (0, 2))
