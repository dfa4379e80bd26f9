"""Closed forms against linear programs and against their definitions, as ONNX Runtime runs them."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from graphprune.ir.builder import GraphBuilder
from graphprune.region import NORMS, Norm
from graphprune.runtime.session import Executable
from graphprune.testing.arrays import weights
from tests.conftest import Floor

Floats = NDArray[np.float64]


def run(form: Callable[..., ir.Value], **arrays: Floats) -> Floats:
    """A closed form on arrays: `form` gets a builder and the inputs by name."""
    b = GraphBuilder("float32")
    b.require(18)
    inputs = {name: b.input(name, list(array.shape)) for name, array in arrays.items()}
    b.output(form(b, **inputs), "found")
    feeds = {name: array.astype(np.float32) for name, array in arrays.items()}
    return np.asarray(Executable(b.build("form"))(feeds)[0], dtype=np.float64)


def nearest(norm: Norm, constant: float, gradient: Floats, lower: Floats, upper: Floats) -> Floats:
    def form(b: GraphBuilder, c: ir.Value, g: ir.Value, l: ir.Value, u: ir.Value) -> ir.Value:  # noqa: E741
        return norm.write_nearest(b, c, g, l, u, len(gradient))

    c = np.array([[constant]])
    steps = run(form, c=c, g=gradient[None], l=lower[None], u=upper[None])
    return np.asarray(steps[0])


def steepest(norm: Norm, gradients: Floats) -> Floats:
    return run(lambda b, g: norm.write_steepest(b, g, gradients.shape[1]), g=gradients)


def into_ball(norm: Norm, steps: Floats, radius: float) -> Floats:
    return run(
        lambda b, y, r: norm.write_projection(b, y, r, steps.shape[1]),
        y=steps, r=np.array([radius]),
    )  # fmt: skip


@given(
    weights(4, largest=2.0),
    weights(2, 4),
    st.floats(0, 1),
    st.sampled_from(list(NORMS.values())),
    st.booleans(),
)
def test_the_nearest_step_is_feasible_and_shortest(
    floor: Floor, gradient: Floats, sides: Floats, part: float, norm: Norm, boxed: bool
) -> None:
    lower, upper = (
        (-np.abs(sides[0]), np.abs(sides[1]))
        if boxed
        else (np.full(4, -np.inf), np.full(4, np.inf))
    )
    reach = np.abs(gradient) @ np.where(gradient > 0, -lower, upper) if boxed else np.inf
    constant = float(part * (0.95 * reach if np.isfinite(reach) else 1.0))
    floor.checked(bool(np.any(gradient)), least=30)
    if not np.any(gradient):
        return
    step = nearest(norm, constant, gradient, lower, upper)
    assert np.all((step >= lower) & (step <= upper))
    assert constant + gradient @ step <= 1e-5 * (1 + abs(constant))
    if norm == "l2":
        # Optimal exactly when the step is the projection of some multiple of -gradient on the box.
        moving = (step != lower) & (step != upper) & (gradient != 0)
        multiples = -step[moving] / gradient[moving]
        assert np.ptp(multiples) <= 1e-5 * (1 + np.max(multiples)) if moving.any() else True
        return
    own = np.ones((4, 1)) if norm == "linf" else np.eye(4)
    eye, k = np.eye(4), own.shape[1]
    half_space = np.concatenate([gradient, np.zeros(k)])[None]
    rows = np.vstack([np.hstack([eye, -own]), np.hstack([-eye, -own]), half_space])
    result = linprog(
        np.concatenate([np.zeros(4), np.ones(k)]), A_ub=rows,
        b_ub=np.concatenate([np.zeros(8), [-constant]]),
        bounds=[*zip(lower, upper, strict=True), *([(0, None)] * k)],
    )  # fmt: skip
    best = float(result.fun or 0.0)
    assert norm.length(step) <= best * (1 + 1e-5) + 1e-6


def test_out_of_reach_the_step_goes_as_far_as_the_box() -> None:
    for norm in NORMS.values():
        step = nearest(norm, 9.0, np.array([1.0, -2.0, 0.0]), np.full(3, -0.5), np.full(3, 0.25))
        assert step[:2].tolist() == [-0.5, 0.25]


def test_what_is_no_number_moves_nothing() -> None:
    box = np.full(3, -0.5), np.full(3, 0.5)
    free = np.full(3, -np.inf), np.full(3, np.inf)
    for norm in NORMS.values():
        for sides in (box, free):
            for constant in (1.0, np.inf, np.nan):
                assert not nearest(norm, constant, np.zeros(3), *sides).any()
                step = nearest(norm, constant, np.array([np.nan, 1.0, np.inf]), *sides)
                assert np.all(np.isfinite(step))
                assert np.all((step >= sides[0]) & (step <= sides[1]))


@given(st.sampled_from(list(NORMS.values())), st.integers(-30, 30))
def test_units_of_the_margin_do_not_matter(norm: Norm, exponent: int) -> None:
    gradient = np.array([1.0, -2.0, 0.5])
    lower, upper = np.full(3, -0.5), np.full(3, 0.3)
    expected = nearest(norm, 0.6, gradient, lower, upper)
    scale = 10.0**exponent
    assert np.allclose(nearest(norm, 0.6 * scale, scale * gradient, lower, upper), expected)


@given(st.integers(0, 10_000), st.sampled_from(list(NORMS.values())), st.floats(0.01, 5))
def test_steps_of_length_one_and_balls(seed: int, norm: Norm, radius: float) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(3, 200))
    unit = steepest(norm, steps)
    assert np.allclose(norm.lengths(unit), 1.0)
    assert np.all(np.einsum("ij,ij->i", unit, steps) < 0)
    inside = into_ball(norm, steps, radius)
    assert np.all(norm.lengths(inside) <= radius * (1 + 1e-5))
    # The projection's own condition: no point of the ball lies beyond it towards the step.
    other = into_ball(norm, rng.normal(size=(3, 200)), radius)
    assert np.all(np.einsum("ij,ij->i", steps - inside, other - inside) <= 1e-4)
    small = steps * (0.5 * radius / norm.lengths(steps))[:, None]
    assert np.allclose(into_ball(norm, small, radius), small, atol=1e-6)
    assert not steepest(norm, np.zeros((1, 200))).any()
