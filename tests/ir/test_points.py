"""Norms, domains and balls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.ir import NORMS, Ball, Domain, Norm
from graphprune.ir.points import length, lengths

ORDERS: dict[Norm, float] = {"linf": np.inf, "l2": 2, "l1": 1}


@given(st.integers(0, 2**32 - 1), st.sampled_from(NORMS))
def test_lengths_are_the_norms_of_flat_steps(seed: int, norm: Norm) -> None:
    steps = np.random.default_rng(seed).normal(0, 1, (3, 2, 4)).astype(np.float32)
    want = [np.linalg.norm(s.astype(float).ravel(), ORDERS[norm]) for s in steps]
    assert lengths(steps, norm) == pytest.approx(want, rel=1e-12)
    assert length(steps[0], norm) == lengths(steps, norm)[0]


def test_the_reach_is_the_distance_of_the_farthest_corner() -> None:
    x = np.array([0.25, 0.5, 1.0])
    assert Domain().reach(x, "linf") == 1.0
    assert Domain().reach(x, "l1") == 0.75 + 0.5 + 1.0
    assert Domain().reach(x, "l2") == pytest.approx(np.sqrt(0.75**2 + 0.5**2 + 1.0))
    assert Domain(-np.inf, np.inf).reach(x, "l2") == np.inf


def test_the_box_of_a_ball_holds_it_in_every_norm() -> None:
    for norm in NORMS:
        ball = Ball(np.array([0.1, 0.5]), 0.3, Domain(), norm)
        assert ball.lower == pytest.approx([0.0, 0.2])
        assert ball.upper == pytest.approx([0.4, 0.8])
