"""Norms, domains and balls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.region import NORMS, Ball, Box, Domain, Norm

ORDERS: dict[str, float] = {"linf": np.inf, "l2": 2, "l1": 1}


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(NORMS.values())))
def test_lengths_are_the_norms_of_flat_steps(seed: int, norm: Norm) -> None:
    steps = np.random.default_rng(seed).normal(0, 1, (3, 2, 4)).astype(np.float32)
    want = [np.linalg.norm(s.astype(float).ravel(), ORDERS[norm]) for s in steps]
    assert norm.lengths(steps) == pytest.approx(want, rel=1e-12)
    assert norm.length(steps[0]) == norm.lengths(steps)[0]


def test_the_reach_is_the_distance_of_the_farthest_corner() -> None:
    x = np.array([0.25, 0.5, 1.0])
    assert Domain().reach(x, "linf") == 1.0
    assert Domain().reach(x, "l1") == 0.75 + 0.5 + 1.0
    assert Domain().reach(x, "l2") == pytest.approx(np.sqrt(0.75**2 + 0.5**2 + 1.0))
    assert Domain(-np.inf, np.inf).reach(x, "l2") == np.inf


def test_the_box_of_a_ball_holds_it_in_every_norm() -> None:
    for norm in NORMS.values():
        ball = Ball(np.array([0.1, 0.5]), 0.3, Domain(), norm)
        assert ball.lower == pytest.approx([0.0, 0.2])
        assert ball.upper == pytest.approx([0.4, 0.8])


def test_balls_around_one_centre_meet_in_the_smaller() -> None:
    center = np.array([0.1, 0.5])
    for norm in NORMS.values():
        small, large = (Ball(center, radius, norm=norm) for radius in (0.02, 0.08))
        assert small.intersection(large) is small
        assert large.intersection(small) is small
    # At the same radius the ball of l1 lies in that of l2, and that in the one of linf.
    sharp, round_one, square = (Ball(center, 0.1, norm=norm) for norm in ("l1", "l2", "linf"))
    assert square.intersection(round_one) is round_one
    assert round_one.intersection(sharp) is sharp


def test_boxes_meet_in_a_box_or_nowhere() -> None:
    ball = Ball(np.array([0.1, 0.5]), 0.2)
    both = ball.intersection(Box(np.array([0.2, 0.0]), np.array([0.9, 0.4])))
    assert both is not None
    assert both.lower == pytest.approx([0.2, 0.3])
    assert both.upper == pytest.approx([0.3, 0.4])
    assert ball.intersection(Box(np.array([0.4, 0.0]), np.array([0.9, 0.4]))) is None


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(list(NORMS.values())),
    st.sampled_from(list(NORMS.values())),
)
def test_what_lies_in_an_intersection_lies_in_both(seed: int, one: Norm, other: Norm) -> None:
    rng = np.random.default_rng(seed)
    center = rng.uniform(0, 1, 3)
    step = rng.choice([0.0, 0.1]) * rng.normal(0, 1, 3)
    first = Ball(center, rng.uniform(0, 1), norm=one)
    second = Ball(np.clip(center + step, 0, 1), rng.uniform(0, 1), norm=other)
    both = first.intersection(second)
    if both is None:
        return
    x = both.lower + rng.integers(0, 3, (50, 3)) / 2 * (both.upper - both.lower)
    if isinstance(both, Ball):
        x = x[both.norm.lengths(x - both.center) <= both.radius]
    for ball in (first, second):
        assert np.all(ball.norm.lengths(x - ball.center) <= ball.radius * (1 + 1e-12))
        assert np.all((x >= ball.lower) & (x <= ball.upper))


def test_the_ends_of_a_domain_in_a_type_lie_inside() -> None:
    """float32(0.1) is above 0.1, float32(0.9) below 0.9."""
    for low, high in ((-0.1, 0.1), (0.9, 1.9), (0.0, 1.0), (-np.inf, np.inf)):
        least, most = Domain(low, high).ends(np.dtype(np.float32))
        assert low <= float(least) <= float(most) <= high
        assert float(most) == pytest.approx(high, rel=1e-7)
    least, most = Domain(0.1, 0.3).ends(np.dtype(np.float64))
    assert (float(least), float(most)) == (0.1, 0.3)
