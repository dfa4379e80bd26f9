"""Attacks on networks and anchors that are no good to gradients: flat, huge, tiny, at a corner."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import graphprune as gp
from graphprune.attacks import attack
from graphprune.attacks.problem import AttackProblem
from graphprune.ir import Query
from graphprune.region import NORMS, Norm
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.runtime.resources import Resources
from graphprune.testing.arrays import points
from tests.canonical.models import model_of, node
from tests.conftest import Floor
from tests.drawn import perceptrons
from tests.oracles import Perceptron, brute_force_distance

Floats = NDArray[np.float64]
FREE = gp.Domain(-np.inf, np.inf)


def anchor_of(net: Perceptron, x: NDArray[np.floating]) -> gp.Anchor:
    return gp.Anchor(x.astype(np.float32), int(np.argmax(net.logits(x.astype(float)))))


@pytest.mark.parametrize("norm", NORMS.values())
def test_the_unit_of_the_logits_does_not_matter(norm: Norm) -> None:
    """Multiplying by a power of two changes no rounding: the same point is found."""
    net = Perceptron.random(np.random.default_rng(0), [3, 6, 5, 3])
    anchor = anchor_of(net, np.array([0.3, 0.6, 0.4]))
    found = []
    for exponent in (0, 110, -110):
        unit = 2.0**exponent
        scaled = Perceptron(
            [*net.weights[:-1], unit * net.weights[-1]], [*net.biases[:-1], unit * net.biases[-1]]
        )
        found.append(gp.attack(gp.from_proto(scaled.model()), anchor, norm=norm).distance)
    assert found[0] is not None
    assert found == [found[0]] * 3


@pytest.mark.parametrize("norm", NORMS.values())
@pytest.mark.parametrize("domain", [gp.Domain(), FREE])
def test_a_boundary_beyond_a_flat_region_is_found(norm: Norm, domain: gp.Domain) -> None:
    """All neurons are off around the anchor: there the gradient is zero."""
    net = Perceptron(
        [4.0 * np.eye(3), np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])],
        [np.full(3, -3.0), np.array([0.5, 0.0])],
    )
    anchor = anchor_of(net, np.array([0.3, 0.6, 0.4]))
    exact = brute_force_distance(net, anchor.x.astype(float), anchor.label, *domain.interval, norm)
    found = gp.attack(gp.from_proto(net.model()), anchor, norm=norm, domain=domain, effort="fast")
    assert found.distance == pytest.approx(exact, rel=1e-4)


@settings(max_examples=20)
@given(
    net=perceptrons([2, 4, 2], [2, 4, 3]),
    x=points(2, low=0.0, high=1.0),
    place=st.sampled_from(["inside", "corner", "free"]),
    norm=st.sampled_from(list(NORMS.values())),
)
def test_corners_two_classes_and_no_domain(
    floor: Floor, net: Perceptron, x: Floats, place: str, norm: Norm
) -> None:
    """Never nearer than the boundary, and a boundary is found where there is one."""
    x = np.round(x) if place == "corner" else x
    domain = FREE if place == "free" else gp.Domain()
    anchor = anchor_of(net, x.astype(np.float32))
    exact = brute_force_distance(net, anchor.x.astype(float), anchor.label, *domain.interval, norm)
    found = gp.attack(gp.from_proto(net.model()), anchor, norm=norm, domain=domain).distance
    if not np.isfinite(exact):
        assert found is None
    elif found is not None:
        floor.checked(1, least=6)
        assert found >= exact * (1 - 1e-5) - 1e-6
    else:
        # Boundaries that only touch the domain, or far beyond where searches end, may be missed.
        assert exact > 100 or brute_force_margin(net, anchor) > -1e-3


# Of small regions, in corners, with tips.
@pytest.mark.parametrize("seed", [77, 96, 146, 209])
def test_small_regions_far_away_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [2, 4, 3])
    anchor = anchor_of(net, rng.uniform(0, 1, 2).astype(np.float32))
    exact = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    found = gp.attack(gp.from_proto(net.model()), anchor).distance
    assert found == pytest.approx(exact, rel=1e-3)


def test_a_polish_into_a_tip_loses_nothing() -> None:
    """The polished step is a tie in float32 alone, and no point behind it is adversarial."""
    rng = np.random.default_rng(77)
    net = Perceptron.random(rng, [2, 4, 3])
    anchor = anchor_of(net, rng.uniform(0, 1, 2).astype(np.float32))
    problem = AttackProblem(Query(gp.from_proto(net.model()), anchor))
    search = attack._Search(problem, Resources())
    end = np.array([[0.03056305, 0.31684378]])
    search._polish(end, problem.lengths(end), np.array([2]), keep=1, rounds=0)
    exact = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    assert exact * (1 - 1e-6) <= search.distance <= exact * 1.05


def brute_force_margin(net: Perceptron, anchor: gp.Anchor) -> float:
    """The least margin on a grid of the unit square."""
    side = np.linspace(0, 1, 101)
    logits = np.array([net.logits(np.array(point)) for point in product(side, side)])
    others = np.delete(logits, anchor.label, axis=1).max(axis=1)
    return float(np.min(logits[:, anchor.label] - others))


def test_what_does_not_fit_is_refused() -> None:
    net = Perceptron.random(np.random.default_rng(0), [3, 4, 3])
    network = gp.from_proto(net.model())
    good = np.full(3, 0.5, np.float32)
    for anchor, words in (
        (gp.Anchor(np.array([np.nan, 0.5, 0.5], np.float32), 0), "NaN or infinite"),
        (gp.Anchor(np.array([np.inf, 0.5, 0.5], np.float32), 0), "NaN or infinite"),
        (gp.Anchor(3 * good, 0), "outside the domain"),
        (gp.Anchor(good, 3), "label 3 is out of range"),
        (gp.Anchor(np.full(4, 0.5, np.float32), 0), "shape"),
    ):
        with pytest.raises(gp.GraphpruneError, match=words):
            gp.attack(network, anchor)


def test_logits_without_numbers_are_refused() -> None:
    huge = np.full((3, 3), 1e30)
    network = gp.from_proto(Perceptron([huge, huge], [np.zeros(3), np.zeros(3)]).model())
    with pytest.raises(gp.GraphpruneError, match="logits at the anchor are not finite"):
        gp.attack(network, gp.Anchor(np.full(3, 0.5, np.float32), 0))


@pytest.mark.parametrize(
    ("factor", "op", "said"),
    [
        (1e4, "Exp", "5000 makes inf"),
        (0.0, "Log", "0 makes -inf"),
        (-1.0, "Sqrt", "-0.5 makes nan"),
    ],
)
def test_numbers_that_are_none_name_the_node_that_makes_them(
    factor: float, op: str, said: str
) -> None:
    nodes = [node("Mul", "x f", "s"), node(op, "s", "h"), node("Gemm", "h w")]
    weights = {"f": np.array(factor, np.float32), "w": np.eye(2, dtype=np.float32)}
    network = gp.from_proto(model_of(nodes, ["n", 2], constants=weights))
    with pytest.raises(gp.GraphpruneError, match=rf"node 'h' \({op}\): {said}"):
        gp.attack(network, gp.Anchor(np.full(2, 0.5, np.float32), 0))


def test_overflow_away_from_the_anchor_gives_no_wrong_point() -> None:
    rng = np.random.default_rng(1)
    for size in (1e12, 1e18, 1e25):
        net = Perceptron(
            [size * rng.normal(size=(4, 3)), size * rng.normal(size=(3, 4))],
            [np.zeros(4), np.array([1.0, 0.5, 0.0])],
        )
        network = gp.from_proto(net.model())
        anchor = gp.Anchor(np.zeros(3, np.float32), 0)
        for norm in NORMS.values():
            witness = gp.attack(network, anchor, norm=norm).witness
            if witness is None:
                assert size > 1e12
                continue
            logits = run_original(network, witness.x[None])[0]
            wide = forward64(network, witness.x[None])[0][0]
            assert logits[witness.target] >= logits[0]
            assert wide[witness.target] >= wide[0]
