"""Domains: one interval for all elements, or one each."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.attacks.problem import AttackProblem
from graphprune.bounds import Boxes
from graphprune.errors import GraphpruneError
from graphprune.evaluate.settings import Settings
from graphprune.ir import Query
from graphprune.region import Ball, Domain

INF = np.inf


def per_element(shape: tuple[int, ...], seed: int = 0) -> Domain:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0.0, 0.1, shape)
    return Domain(low, low + rng.uniform(0.9, 1.0, shape))


def test_one_interval_prints_and_serialises_as_ever() -> None:
    assert repr(Domain(0, 1)) == "Domain(low=0, high=1)"
    assert Domain().text == "0.0,1.0"
    assert Domain(-1.0, 0.5).text == "-1.0,0.5"
    assert (Domain(0, 1).option, Domain(-INF, INF).option) == ("0,1", "none")
    assert Domain(-0.5, 2).span == "[-0.5, 2]"
    assert Domain().to_json() == [0.0, 1.0]
    assert Domain(-INF, 1.0).to_json() == [None, 1.0]
    assert Domain(-INF, INF).to_json() is None
    assert Domain() == Domain(0, 1)
    assert hash(Domain()) == hash(Domain(0, 1))
    assert Domain() != Domain(0, 2)


LOW, HIGH = st.sampled_from([-INF, 0.0, 0.25]), st.sampled_from([0.25, 1.0, INF])


@given(st.lists(st.tuples(LOW, HIGH), min_size=1))
def test_json_is_read_back(pairs: list[tuple[float, float]]) -> None:
    low, high = np.array(pairs).T
    for domain in (Domain(low, high), Domain(-INF, high), Domain(*pairs[0])):
        back = Domain.from_json(json.loads(json.dumps(domain.to_json())))
        assert np.all(back.low == domain.low)
        assert np.all(back.high == domain.high)
        settings = Settings(domain=domain)
        assert Settings.from_json(json.loads(json.dumps(settings.to_json()))).domain == back


def test_ends_per_element_are_kept_apart_and_fixed() -> None:
    ends = np.array([0.0, 0.5])
    domain = Domain(ends, 1.0)
    ends[0] = 9.0
    assert domain == Domain(np.array([0.0, 0.5]), 1.0)
    assert hash(domain) == hash(Domain([0.0, 0.5], 1.0))  # type: ignore[arg-type]
    assert domain != Domain()
    assert not domain.uniform
    assert domain.bounded
    assert not Domain(np.array([0.0, -INF]), 1.0).bounded
    assert domain.text != Domain(np.array([0.0, 0.4]), 1.0).text
    with pytest.raises(GraphpruneError, match="other ends for every element"):
        _ = domain.interval
    with pytest.raises(ValueError, match="read-only"):
        domain.low[0] = 1.0  # type: ignore[index]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ends_in_a_type_lie_inside(dtype: type[np.floating]) -> None:
    domain = per_element((50,))
    low, high = domain.ends(np.dtype(dtype))
    assert low.dtype == high.dtype == dtype
    assert np.all(low.astype(float) >= domain.low)
    assert np.all(high.astype(float) <= domain.high)
    assert np.allclose(low.astype(float), domain.low, rtol=2e-3, atol=1e-7)
    points = np.linspace(-1, 2, 100).reshape(2, 50).astype(dtype)
    assert all(domain.contains(x.astype(float)) for x in domain.clip(points))


@given(st.integers(0, 99), st.sampled_from(["linf", "l2", "l1"]))
def test_every_element_has_its_own_room(seed: int, norm: str) -> None:
    domain = per_element((2, 3), seed)
    x = np.random.default_rng(seed).uniform(*domain.box((2, 3)))
    down, up = domain.steps(x)
    assert np.all((down <= 0) & (up >= 0))
    assert np.allclose(x + down, domain.low)
    assert np.allclose(x + up, domain.high)
    ball = Ball(x, 0.3, domain, norm)
    assert np.all(ball.lower >= domain.low)
    assert np.all(ball.upper <= domain.high)
    boxes = Boxes.of(ball)
    assert np.all(boxes.lower.reshape(2, 3) <= ball.lower)
    assert np.all(boxes.upper.reshape(2, 3) >= ball.upper)
    assert ball.describe()["domain"] == domain.text


def test_all_metrics_obey_ends_per_element(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """Half of the pixels fixed: the distance is larger, and its point keeps these pixels."""
    anchor = images[2]
    x = anchor.x.astype(float)
    fixed = np.indices(x.shape).sum(axis=0) % 2 == 0
    domain = Domain(np.where(fixed, x, 0.0), np.where(fixed, x, 1.0))
    free, found = (gp.attack(tiny, anchor, domain=d, effort="fast") for d in (Domain(), domain))
    assert found.witness is not None
    assert free.distance is not None
    assert found.distance is not None
    assert np.array_equal(found.witness.x[fixed], anchor.x[fixed])
    assert found.distance > free.distance
    proof = gp.certify(tiny, anchor, domain=domain, upper=found.distance)
    assert gp.certify(tiny, anchor).radius < proof.radius <= found.distance
    exact = gp.distance(tiny, anchor, domain=domain, time_limit=60)
    assert exact.status == "exact"
    assert proof.radius <= exact.lower <= exact.upper <= found.distance * (1 + 1e-6)  # type: ignore[operator]
    assert np.array_equal(exact.witness.x[fixed], anchor.x[fixed])  # type: ignore[union-attr]
    with pytest.raises(gp.GraphpruneError, match=r"ends of shape \(3,\)"):
        gp.attack(tiny, anchor, domain=Domain(np.zeros(3), 1.0))
    steps = AttackProblem(Query(tiny, anchor, domain))
    assert not steps.upper[fixed.reshape(-1)].any()
