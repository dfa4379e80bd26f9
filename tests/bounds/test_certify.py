"""Attack and certificate: sides of the distance, and their order."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.bounds import certify
from graphprune.bounds.bracket import Bracket
from graphprune.bounds.certify import certified_margins
from graphprune.ir import Query
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing import anchors, networks
from tests.oracles import Perceptron


@given(st.data())
def test_certified_radius_is_at_most_the_attacked_one(data: st.DataObject) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    found = gp.attack(network, anchor, effort="fast")
    for method in ("ibp", "fastlin", "fastlin-ibp", "crown"):
        proof = gp.certify(network, anchor, method=method)
        assert found.distance is None or proof.radius <= found.distance
        if proof.complete:
            assert found.distance is None
    if found.witness is not None:
        x = found.witness.x
        assert anchor.distance(x) == found.distance
        assert np.all((x >= 0) & (x <= 1))
        for logits in (run_original(network, x[None])[0], forward64(network, x[None])[0][0]):
            assert logits[found.witness.target] >= logits[anchor.label]


@pytest.mark.parametrize("small", [0, 1000])
def test_certificate_is_largest_to_a_thousandth(
    small: int, monkeypatch: pytest.MonkeyPatch, tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    """One radius at a time, and two."""
    monkeypatch.setattr(certify, "SMALL", small)
    proof = gp.certify(tiny, images[0])
    query = Query(tiny, images[0])
    assert np.min(certified_margins(query, proof.radius)) > 0
    assert np.min(certified_margins(query, 1.0011 * proof.radius)) <= 0


def test_crown_is_at_least_fastlin_and_ibp_on_images(
    mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    for anchor in images[:5]:
        radii = [gp.certify(mnist_a, anchor, method=m).radius for m in ("ibp", "fastlin", "crown")]
        assert radii == sorted(radii)


def test_a_tie_at_the_anchor_is_distance_zero() -> None:
    net = Perceptron([np.array([[1.0], [1.0]])], [np.zeros(2)])
    network = gp.from_proto(net.model())
    anchor = gp.Anchor(np.array([0.5], np.float32), 0)
    assert gp.attack(network, anchor).distance == 0.0
    assert gp.certify(network, anchor).radius == 0.0
    result = gp.distance(network, anchor)
    assert (result.lower, result.upper, result.status) == (0.0, 0.0, "exact")


def test_a_constant_network_is_robust_in_the_whole_domain() -> None:
    net = Perceptron([np.zeros((2, 3)), np.zeros((2, 2))], [np.ones(2), np.array([1.0, 0.0])])
    network = gp.from_proto(net.model())
    anchor = gp.Anchor(np.full(3, 0.25, np.float32), 0)
    assert gp.attack(network, anchor).distance is None
    proof = gp.certify(network, anchor)
    assert proof.complete
    result = gp.distance(network, anchor)
    assert (result.status, result.upper) == ("robust", None)
    assert result.lower == pytest.approx(0.75)


def test_without_a_domain_points_may_leave_the_unit_box() -> None:
    net = Perceptron([np.array([[1.0], [-1.0]])], [np.array([0.0, 6.0])])
    network = gp.from_proto(net.model())  # boundary at x = 3
    anchor = gp.Anchor(np.array([0.5], np.float32), 1)
    free = gp.Domain(-np.inf, np.inf)
    assert gp.attack(network, anchor).distance is None
    assert gp.attack(network, anchor, domain=free).distance == pytest.approx(2.5, rel=1e-3)
    assert gp.certify(network, anchor, domain=free).radius == pytest.approx(2.5, rel=1e-3)
    result = gp.distance(network, anchor, domain=free)
    assert result.status == "exact"
    assert result.upper == pytest.approx(2.5, rel=1e-4)


@pytest.mark.parametrize("metric", [gp.attack, gp.certify, gp.distance])
def test_what_is_no_anchor_is_said(metric: Callable[..., object], tiny: gp.Network) -> None:
    x = np.full(tiny.input_shape, 0.5, np.float32)
    for anchor, said in (
        (gp.Anchor(np.full(x.shape, "a"), 0), "no array of float32 or float64, but <U1"),
        (gp.Anchor(x.astype(np.int64), 0), "could be bytes to divide by 255"),
        (gp.Anchor(x[0]), "has shape"),
        (gp.Anchor(x, 1.5), "label is no integer, but 1.5"),  # type: ignore[arg-type]
    ):
        with pytest.raises(gp.AnchorError, match=said):
            metric(tiny, anchor)


def test_a_radius_is_tried_first_and_never_exceeded(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    free = gp.certify(tiny, images[0])
    assert free.certified is None
    below = gp.certify(tiny, images[0], radius=0.9 * free.radius)
    assert (below.certified, below.radius) == (True, 0.9 * free.radius)
    above = gp.certify(tiny, images[0], radius=1.1 * free.radius)
    assert above.certified is False
    assert above.radius == pytest.approx(free.radius, rel=2e-3)
    # A ball that covers the domain is the domain: with nothing adversarial in it, any is certified.
    inside = gp.Domain(images[0].center - 1e-4, images[0].center + 1e-4)
    whole = gp.certify(tiny, images[0], domain=inside, radius=10.0)
    assert whole.certified
    assert whole.radius < 10.0
    with pytest.raises(gp.GraphpruneError, match="positive"):
        gp.certify(tiny, images[0], radius=0.0)


def test_a_radius_that_fails_by_far_is_followed_by_a_much_smaller_one() -> None:
    """Halving 1 down to what attention allows would take ten passes."""

    def following(margin: float) -> float:
        bracket = Bracket(1.0, 1.0, lambda: 2.0)
        bracket.add(0.8, margin)
        return bracket.next()[0]

    assert 0.3 < following(-2.0) < 0.5
    assert 0.08 < following(-1e3) < 0.2
    assert following(-1e9) == following(-np.inf) == pytest.approx(0.08)


def test_a_bracket_takes_margins_whose_squares_overflow() -> None:
    bracket = Bracket(1.0, 1.0, lambda: 1e250)
    bracket.add(0.5, -1e300)
    bracket.add(0.25, -1e260)
    assert 0.0 < bracket.next()[0] < 0.25


@given(
    here=st.floats(1e-2, 1e2), slope=st.floats(1e-3, 1e3), bend=st.floats(0, 1e4),
    rate=st.floats(1e-3, 60.0), first=st.floats(1e-3, 1.0), count=st.integers(1, 2),
)  # fmt: skip
@settings(deadline=None)
def test_a_bracket_closes_on_margins_that_fall_ever_faster(
    here: float, slope: float, bend: float, rate: float, first: float, count: int
) -> None:
    """Every radius is new, and inside; halving would take more than twice as many passes."""
    bracket = Bracket(1.0, 1.0, lambda: here)
    radii, tried = [first], 0
    while tried < 60:
        for radius in radii:
            assert bracket.low < radius <= 1.0
            assert radius < bracket.high or count == 2
            bracket.add(radius, here - slope * radius - bend * float(np.expm1(rate * radius)))
        tried += 1
        if bracket.closed:
            break
        radii = bracket.next(count)
    assert tried <= 25
    if bracket.low < 1.0:
        assert bracket.high <= 1.001 * bracket.low or bracket.high < 1e-9


def test_alpha_crown_optimises_the_bounds_of_all_layers_too(
    monkeypatch: pytest.MonkeyPatch, mnist_a: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.certify(mnist_a, images[0], method="alpha-crown")
    query = Query(mnist_a, images[0])
    assert np.min(certified_margins(query, found.radius, "alpha-crown")) > 0
    upper = gp.attack(mnist_a, images[0], effort="fast").distance
    assert upper is not None
    monkeypatch.setattr(Bracket, "open_above", False)
    alone = gp.certify(mnist_a, images[0], method="alpha-crown").radius
    assert 1.01 * alone < found.radius <= upper
