"""The polish: never worse, always confirmed, exact where the problem is convex."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.attacks.confirm import Witness, confirm
from graphprune.attacks.polish import polish
from graphprune.ir import Query
from graphprune.region import NORMS, Norm
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.testing import anchors, networks
from tests.conftest import Floor
from tests.oracles import Perceptron, brute_force_distance

FREE = gp.Domain(-np.inf, np.inf)


def some_witness(query: Query, seed: int) -> Witness | None:
    """A random adversarial point, as far as it happens to be."""
    points = np.random.default_rng(seed).uniform(0, 1, (64, *query.network.input_shape))
    return confirm(query, points.astype(np.float32))


def check(query: Query, witness: Witness) -> None:
    """The witness is what it says."""
    network, anchor, x = query.network, query.anchor, witness.x
    assert query.domain.contains(x)
    assert query.norm.length(x.astype(float) - anchor.x.astype(float)) == witness.distance
    for logits in (run_original(network, x[None])[0], forward64(network, x[None])[0][0]):
        assert logits[witness.target] >= logits[anchor.label]


@given(st.data(), st.sampled_from(list(NORMS.values())), st.sampled_from([gp.Domain(), FREE]))
def test_a_polished_point_is_confirmed_and_not_farther(
    floor: Floor, data: st.DataObject, norm: Norm, domain: gp.Domain
) -> None:
    network = data.draw(networks())
    query = Query(network, data.draw(anchors(network)), domain, norm)
    witness = some_witness(query, data.draw(st.integers(0, 99)))
    floor.checked(witness is not None, least=10)
    if witness is None:
        return
    polished = polish(query, witness)
    assert polished.distance <= witness.distance
    check(query, polished)


@pytest.mark.parametrize("norm", NORMS.values())
def test_the_distance_to_a_half_space_is_exact(norm: Norm) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        net = Perceptron.random(rng, [6, 2])
        network = gp.from_proto(net.model())
        x = rng.uniform(0.2, 0.8, 6).astype(np.float32)
        anchor = gp.Anchor(x, int(np.argmax(net.logits(x.astype(float)))))
        for domain, (low, high) in ((gp.Domain(), (0, 1)), (FREE, (-np.inf, np.inf))):
            query = Query(network, anchor, domain, norm)
            witness = some_witness(query, 0)
            if witness is not None:
                exact = brute_force_distance(net, x.astype(float), anchor.label, low, high, norm)
                polished = polish(query, witness)
                assert polished.distance == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("norm", NORMS.values())
def test_from_many_starts_the_polish_finds_the_exact_distance(norm: Norm) -> None:
    rng = np.random.default_rng(1)
    tried = solved = 0
    for _ in range(8):
        net = Perceptron.random(rng, [4, 4, 3, 3])
        network = gp.from_proto(net.model())
        x = rng.uniform(0.2, 0.8, 4).astype(np.float32)
        anchor = gp.Anchor(x, int(np.argmax(net.logits(x.astype(float)))))
        exact = brute_force_distance(net, x.astype(float), anchor.label, 0.0, 1.0, norm)
        query = Query(network, anchor, norm=norm)
        found = [
            polish(query, witness).distance
            for seed in range(8)
            if (witness := some_witness(query, seed)) is not None
        ]
        if found:
            tried += 1
            assert min(found) >= exact * (1 - 1e-5) - 1e-6
            solved += min(found) <= exact * 1.001 + 1e-6
    assert tried >= 4
    assert solved >= tried - 1


@settings(max_examples=10)
@given(st.data())
def test_a_deadline_in_the_past_gives_the_point_back(floor: Floor, data: st.DataObject) -> None:
    network = data.draw(networks())
    query = Query(network, data.draw(anchors(network)))
    witness = some_witness(query, 0)
    floor.checked(witness is not None, least=3)
    if witness is not None:
        polished = polish(query, witness, deadline=0.0)
        assert polished.distance <= witness.distance
