"""Bounds of every function at hostile intervals and points; `benchmarks/curves.py` asks many more."""

import numpy as np
import pytest

from graphprune.functions import Cos, Product, ScalarFunction, Silu, Sin, Softplus
from graphprune.testing.curves import (
    assert_curve,
    hostile_intervals,
    hostile_points,
    product_violations,
)
from tests.functions.test_functions import ALL


@pytest.mark.parametrize("op", ALL, ids=str)
def test_bounds_hold_at_hostile_points(op: ScalarFunction) -> None:
    rng = np.random.default_rng(0)
    lower, upper = hostile_intervals(op, 200, rng)
    assert len(lower) >= 100, "few intervals were checked"
    points = hostile_points(op, lower, upper, rng)
    assert np.all((points >= lower) & (points <= upper))
    assert_curve(op, intervals=200)


def test_planes_of_products_hold_at_hostile_points() -> None:
    with np.errstate(all="ignore"):
        assert not list(product_violations(400, np.random.default_rng(0)))


class Shallow(Silu):
    """SiLU whose minimum is not told."""

    extrema = ()


class Bent(Silu):
    """SiLU said to be concave where it is convex."""

    convex = (False, False, False)


@pytest.mark.parametrize(("wrong", "what"), [(Shallow(), "interval"), (Bent(), "line below")])
def test_wrong_functions_are_found(wrong: ScalarFunction, what: str) -> None:
    with pytest.raises(AssertionError, match=what):
        assert_curve(wrong)


def test_wrong_planes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Product, "interval", lambda op, lower, upper: (lower, upper))
    with np.errstate(all="ignore"):
        assert list(product_violations(50, np.random.default_rng(0)))


@pytest.mark.parametrize("op", [Sin(), Cos()], ids=str)
def test_slopes_far_out_are_anything(op: ScalarFunction) -> None:
    """Pieces are too inexact there, and were taken for the whole: slopes stood at one of two ends."""
    least, most = op.slope_range(np.array([-2e23]), np.array([3.0]))
    assert (least[0], most[0]) == (-1.0, 1.0)


def test_slopes_fall_without_bound_where_the_value_jumps() -> None:
    op = Softplus(1.0)
    least, most = op.slope_range(np.array([0.5, 1.5, -2.0]), np.array([1.5, 2.0, 0.5]))
    assert np.isneginf(least[0])
    assert np.all(least[1:] > 0)
    assert np.all(most >= 0.5)
