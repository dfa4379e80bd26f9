"""Closed forms against linear programs and against their definitions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from graphprune.ir import NORMS, Norm
from graphprune.ir.points import length, lengths
from graphprune.passes.analysis.attack_project import into_ball, nearest, steepest


@given(st.integers(0, 10_000), st.sampled_from(NORMS), st.booleans())
def test_the_nearest_step_is_feasible_and_shortest(seed: int, norm: Norm, boxed: bool) -> None:
    rng = np.random.default_rng(seed)
    gradient = rng.normal(size=4) * rng.choice([0.0, 1.0, 1.0], 4)
    lower, upper = (
        (-rng.uniform(0, 1, 4), rng.uniform(0, 1, 4))
        if boxed
        else (np.full(4, -np.inf), np.full(4, np.inf))
    )
    reach = np.abs(gradient) @ np.where(gradient > 0, -lower, upper) if boxed else np.inf
    constant = float(rng.uniform(0, 1)) * (0.95 * reach if np.isfinite(reach) else 1.0)
    if not np.any(gradient):
        return
    step = nearest(norm, np.array([constant]), gradient[None], lower, upper)[0]
    assert np.all((step >= lower) & (step <= upper))
    assert constant + gradient @ step <= 1e-9 * (1 + abs(constant))
    if norm == "l2":
        # Optimal exactly when the step is the projection of some multiple of -gradient on the box.
        moving = (step != lower) & (step != upper) & (gradient != 0)
        multiples = -step[moving] / gradient[moving]
        assert np.ptp(multiples) <= 1e-9 * (1 + np.max(multiples)) if moving.any() else True
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
    assert length(step, norm) <= best * (1 + 1e-5) + 1e-7


def test_out_of_reach_the_step_goes_as_far_as_the_box() -> None:
    for norm in NORMS:
        step = nearest(
            norm, np.array([9.0]), np.array([[1.0, -2.0, 0.0]]), np.full(3, -0.5), np.full(3, 0.25)
        )
        assert step[0, :2].tolist() == [-0.5, 0.25]


@given(st.integers(0, 10_000), st.sampled_from(NORMS), st.floats(0.01, 5))
def test_steps_of_length_one_and_balls(seed: int, norm: Norm, radius: float) -> None:
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(3, 200))
    unit = steepest(norm, steps)
    assert np.allclose(lengths(unit, norm), 1.0)
    assert np.all(np.einsum("ij,ij->i", unit, steps) < 0)
    inside = into_ball(norm, steps, radius)
    assert np.all(lengths(inside, norm) <= radius * (1 + 1e-9))
    # The projection's own condition: no point of the ball lies beyond it towards the step.
    other = into_ball(norm, rng.normal(size=(3, 200)), radius)
    assert np.all(np.einsum("ij,ij->i", steps - inside, other - inside) <= 1e-8)
    small = steps * (0.5 * radius / lengths(steps, norm))[:, None]
    assert np.allclose(into_ball(norm, small, radius), small)
    assert (
        steepest(norm, np.zeros((1, 200))).tolist() == np.zeros((1, 200)).tolist() or norm == "linf"
    )
