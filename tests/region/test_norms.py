"""Norms: minima and roots against linear programs and grids, registry, and being a name."""

import copy
import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

import graphprune as gp
from graphprune.region import LINF, NORMS, Ball, Box, Domain, Norm, Region, norm_of, register_norm

Floats = NDArray[np.float64]
norms = st.sampled_from(list(NORMS.values()))
ends = st.sampled_from([-1.0, -0.25, 0.0, 0.1, 0.5, 1.0, 1.5])


@st.composite
def regions(draw: st.DrawFn, norm: Norm | None = None) -> Region:
    """Balls in any norm, in domains with ends per element, and boxes of any sides."""
    size = draw(st.integers(1, 5))
    pairs = [sorted(draw(st.tuples(ends, ends))) for _ in range(size)]
    low, high = np.array(pairs).T
    chosen = norm or draw(st.sampled_from([*NORMS.values(), None]))
    if chosen is None:
        return Box(low, high)
    share = draw(st.floats(0.0, 1.0))
    radius = draw(st.sampled_from([0.0, 1e-3, 0.2, 0.7, 3.0]))
    domain = Domain(low, high) if draw(st.booleans()) else Domain(-np.inf, np.inf)
    return Ball(low + share * (high - low), radius, domain, chosen)


def rows(data: st.DataObject, size: int) -> Floats:
    entries = st.sampled_from([-3.0, -1.0, -0.3, 0.0, 0.0, 0.7, 1.0, 2.5])
    return np.array(data.draw(st.lists(entries, min_size=size, max_size=size)))


def least(region: Region, row: Floats) -> float:
    """The minimum by other means: linear programs, and many tangent planes for l2."""
    n, center = row.size, region.center
    lower, upper = region.outward
    if region.norm.separable:
        found = linprog(row, bounds=list(zip(lower, upper, strict=True)))
        return float(found.fun or 0.0)
    if region.norm == "l1":  # x = center + p - m
        bounds = [*((0, u) for u in upper - center), *((0, u) for u in center - lower)]
        both = np.concatenate([row, -row])
        found = linprog(both, np.ones((1, 2 * n)), [region.radius], bounds=bounds)
        return float(row @ center) + float(found.fun or 0.0)
    # The dual function of the length's multiplier is concave: by golden section.
    best, low, high = -np.inf, -14.0, 4.0
    for _ in range(80):
        grid = np.linspace(low, high, 9)
        values = []
        for m in 10.0**grid:
            step = np.clip(-row / m, lower - center, upper - center)
            values.append(row @ step + 0.5 * m * (step @ step - region.radius**2))
        k = int(np.argmax(values))
        best = max(best, float(values[k]))
        low, high = grid[max(k - 1, 0)], grid[min(k + 1, 8)]
    return float(row @ center) + best


@given(st.data())
def test_minima_are_those_of_other_programs(data: st.DataObject) -> None:
    region = data.draw(regions())
    row = rows(data, region.center.size)
    found = region.minimum(row)
    assert found.value == pytest.approx(least(region, row), abs=2e-6)
    assert found.error <= 1e-13 * (1 + np.abs(row).sum()) * (1 + region.radius)
    assert found.value - found.error <= float(row @ found.point) + 1e-12


@given(st.data())
def test_no_point_is_below_a_minimum(data: st.DataObject) -> None:
    """Exactly: rows and points in rational arithmetic."""
    region = data.draw(regions())
    row = rows(data, region.center.size)
    found = region.minimum(row)
    proven = Fraction(found.value) - Fraction(found.error)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    corners = rng.integers(0, 2, (40, row.size))
    points = region.pulled(region.lower + corners * (region.upper - region.lower))
    for x in points:
        if region.contains(x):
            value = sum(Fraction(a) * Fraction(b) for a, b in zip(row, x, strict=True))
            assert value >= proven


@given(st.data())
def test_below_a_root_the_minimum_is_positive(data: st.DataObject) -> None:
    norm = data.draw(norms)
    ball = data.draw(regions(norm).filter(lambda region: region.radius > 0.5))
    row = rows(data, ball.center.size)
    constant = data.draw(st.sampled_from([-0.5, 0.0, 0.1, 1.0, 4.0])) - float(row @ ball.center)
    radius = ball.root(row, constant)
    assert (radius == 0.0) == (not float(row @ ball.center) + constant > 1e-12)
    wide = Ball(ball.center, 1e6, ball.domain, norm) if isinstance(ball, Ball) else ball
    inside = wide.shrunk(radius * (1 - 1e-9)).minimum(row)
    if radius > 0.0:
        assert inside.value + inside.error + constant > -1e-12
    if 0.0 < radius < np.inf:
        beyond = wide.shrunk(radius * (1 + 1e-6)).minimum(row)
        assert beyond.value + constant < 1e-6


@given(st.data())
def test_roots_fall_with_the_constant(data: st.DataObject) -> None:
    region = data.draw(regions())
    row = rows(data, region.center.size)
    start = -float(row @ region.center)
    found = [region.root(row, start + more) for more in (-0.1, 0.0, 0.05, 0.3, 1.0, 5.0)]
    assert found == sorted(found)


@given(st.data())
def test_smaller_regions_are_nested(data: st.DataObject) -> None:
    region = data.draw(regions())
    radii = sorted(data.draw(st.lists(st.floats(0.0, 2.0), min_size=2, max_size=4)), reverse=True)
    for radius in radii:
        small = region.shrunk(radius)
        assert small.radius <= min(radius, region.radius)
        assert np.array_equal(small.center, region.center)
        assert np.all(small.lower >= region.lower)
        assert np.all(small.upper <= region.upper)
        points = small.pulled(np.stack([small.lower, small.upper, small.center]))
        assert all(region.contains(x) or not small.contains(x) for x in points)
        region = small


@given(st.data())
def test_the_outward_box_holds_every_real_point(data: st.DataObject) -> None:
    region = data.draw(regions())
    lower, upper = region.outward
    assert np.all(lower <= region.lower)
    assert np.all(upper >= region.upper)
    if isinstance(region, Ball):
        low, high = region.domain.box(region.center.shape)
        for i, c in enumerate(region.center):
            side = Fraction(c) - Fraction(region.radius)
            assert lower[i] == low[i] or Fraction(lower[i]) <= side
            side = Fraction(c) + Fraction(region.radius)
            assert upper[i] == high[i] or Fraction(upper[i]) >= side


def test_a_norm_is_found_by_name_and_stays_itself() -> None:
    for name, norm in NORMS.items():
        assert norm_of(name) is norm
        assert norm_of(norm) is norm
        assert pickle.loads(pickle.dumps(norm)) is norm
        assert copy.deepcopy(norm) is norm
        assert json.dumps({"norm": norm}) == f'{{"norm": "{name}"}}'
        assert Ball(np.zeros(1), 1.0, norm=name).norm is norm
        assert (str(norm), repr(norm), f"{norm}") == (name, repr(name), name)
        with pytest.raises(AttributeError):
            norm.order = 3.0  # type: ignore[misc]
    with pytest.raises(gp.GraphpruneError, match=r"unknown norm 'linff'; did you mean 'linf'\?"):
        norm_of("linff")


def test_a_registered_norm_measures_attacks_and_certificates(
    tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A norm of one's own: here L-infinity in other units, without compiled kernels."""
    kind = type(LINF)

    class Halves(kind):  # type: ignore[misc, valid-type]
        __slots__ = ()
        separable = False
        extent = 0.5
        kernel = None

        def _lengths(self, sizes: Floats) -> Floats:
            return np.asarray(2.0 * super()._lengths(sizes))

        def _dual_lengths(self, sizes: Floats) -> Floats:
            return np.asarray(0.5 * super()._dual_lengths(sizes))

        def write_lengths(self, b, steps):  # type: ignore[no-untyped-def]
            return b.op("Mul", [super().write_lengths(b, steps), b.scalar(2.0)])

        def write_projection(self, b, steps, radius, size):  # type: ignore[no-untyped-def]
            half = b.op("Mul", [radius, b.scalar(0.5)])
            return super().write_projection(b, steps, half, size)

        def write_gain(self, b, steep, way, radius):  # type: ignore[no-untyped-def]
            return super().write_gain(b, steep, way, b.op("Mul", [radius, b.scalar(0.5)]))

    monkeypatch.setitem(NORMS, "halves", Halves("halves"))
    own, plain = (gp.certify(tiny, images[0], norm=name) for name in ("halves", "linf"))
    assert own.radius == pytest.approx(2.0 * plain.radius, rel=0.01)
    assert own.norm == "halves"
    found = gp.attack(tiny, images[0], norm="halves", effort="fast")
    best = gp.attack(tiny, images[0], effort="fast")
    assert found.distance is not None
    assert best.distance is not None
    assert own.radius < found.distance <= 2.0 * 1.3 * best.distance


def test_register_norm_returns_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.region.norms.registry.NORMS", dict(NORMS))
    again = type(LINF)("again")
    assert register_norm(again) is again
    assert norm_of("again") is again
