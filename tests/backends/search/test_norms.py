"""Exact distances in l2 and l1 against brute force and closed forms, on domains of unequal ends."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.region import NORMS, Norm, norm_of
from graphprune.region.norms.linf import LinfNorm
from tests.conftest import Floor
from tests.drawn import labelled
from tests.oracles import Perceptron, brute_force_distance

rounded = st.sampled_from([NORMS["l2"], NORMS["l1"]])
seeds = st.integers(0, 10_000)


def some_domain(x: np.ndarray, seed: int) -> gp.Domain:
    """Ends around a point, some of them at it, some none at all."""
    rng = np.random.default_rng(seed)
    ways = rng.choice([0.0, 0.01, 0.3, 1.0, np.inf if seed % 3 == 0 else 2.0], (2, *x.shape))
    return gp.Domain(x.astype(float) - ways[0], x.astype(float) + ways[1])


@settings(max_examples=10)
@given(
    labelled([6, 3], [2, 4, 2], [5, 4, 3], [4, 3, 2, 2]),
    seeds,
    rounded,
)
def test_the_search_agrees_with_brute_force(
    floor: Floor, drawn: tuple[Perceptron, gp.Network, gp.Anchor], seed: int, norm: Norm
) -> None:
    net, network, anchor = drawn
    domain = some_domain(anchor.x, seed)
    low, high = domain.box(anchor.x.shape)
    expected = brute_force_distance(net, anchor.center, anchor.label, low, high, norm)
    found = gp.distance(network, anchor, domain=domain, norm=norm, solver="search", time_limit=60)
    assert found.lower <= expected * (1 + 1e-6) + 1e-7
    if np.isfinite(expected) and expected < 500:
        floor.checked(1, least=4)
        assert (found.status, found.certified) == ("exact", True)
        assert found.upper == pytest.approx(expected, rel=1e-4, abs=2e-6)
        assert found.witness is not None
        assert found.witness.distance == norm.length(found.witness.x - anchor.center)
    elif domain.bounded:
        assert (found.status, found.upper) == ("robust", None)


@settings(max_examples=10)
@given(seeds, rounded)
def test_a_linear_network_has_the_closed_form(seed: int, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [40, 3])
    network = gp.from_proto(net.model())
    x = rng.uniform(0, 1, 40).astype(np.float32)
    logits = net.logits(x.astype(float))
    label = int(np.argmax(logits))
    dual = norm_of({"l2": "l2", "l1": "linf"}[norm])
    expected = min(
        (logits[label] - logits[t]) / dual.length(net.weights[0][label] - net.weights[0][t])
        for t in range(3) if t != label
    )  # fmt: skip
    nowhere = gp.Domain(-np.inf, np.inf)
    found = gp.distance(network, gp.Anchor(x, label), domain=nowhere, norm=norm, solver="search")
    assert found.lower <= expected * (1 + 1e-9)
    assert found.upper == pytest.approx(expected, rel=1e-4, abs=1e-6)


@settings(max_examples=3)
@given(labelled([5, 4, 4, 3]))
def test_distances_lie_in_the_order_of_their_norms_and_decide_a_radius(
    drawn: tuple[Perceptron, gp.Network, gp.Anchor],
) -> None:
    _, network, anchor = drawn
    found = {n: gp.distance(network, anchor, norm=n, solver="search") for n in NORMS}
    assert found["linf"].lower <= found["l2"].lower <= found["l1"].lower
    for norm, d in found.items():
        if d.upper is None or d.lower < 1e-3:
            continue
        assert d.witness is not None
        assert d.witness.distance == anchor.distance(d.witness.x, norm)
        below = gp.distance(network, anchor, norm=norm, solver="search", radius=0.9 * d.lower)
        assert (below.status, below.upper, below.lower) == ("robust", None, 0.9 * d.lower)
        beyond = gp.distance(network, anchor, norm=norm, solver="search", radius=1.1 * d.lower)
        assert beyond.upper == pytest.approx(d.upper, rel=2e-4)


def test_a_norm_without_a_compiled_form_is_refused(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    class Uncompiled(LinfNorm):
        separable = False
        kernel = None  # type: ignore[assignment]
        certifiable = False

    norm = Uncompiled("foreign")
    with pytest.raises(gp.GraphpruneError, match="d_bnd .*foreign has none"):
        gp.distance(tiny, images[0], norm=norm)
    with pytest.raises(gp.GraphpruneError, match="certificate .* the checker knows, and foreign"):
        norm.require_certifiable()


def test_a_case_without_points_is_split_where_no_proof_of_that_is_found() -> None:
    """A search ended at [0.87, 1.02]: it took such a case for an adversarial point."""
    weights = [
        [[0.5, -1.5, -0.5], [0.5, 2.5, -0.5], [0.0, 1.5, 1.0]],
        [[1.5, -0.5, 2.5]],
        [[0.0], [1.5], [-1.0]],
        [[-0.5, -2.0, -1.0], [0.5, 0.0, 1.5], [-0.5, 2.5, 0.0]],
    ]
    biases = [[0.0, 0.0, 0.0], [0.5], [0.0, 0.0, -1.0], [-0.5, 0.5, 0.0]]
    net = Perceptron([np.array(w) for w in weights], [np.array(b) for b in biases])
    x = np.array([0.90756196, 0.23290142, 0.6054365], np.float32)
    nowhere = gp.Domain(-np.inf, np.inf)
    truth = brute_force_distance(net, x.astype(float), 2, -np.inf, np.inf, NORMS["l2"])
    found = gp.distance(gp.from_proto(net.model()), gp.Anchor(x, 2), domain=nowhere, norm="l2")
    assert found.status == "exact"
    assert found.upper == pytest.approx(truth, rel=1e-4)
