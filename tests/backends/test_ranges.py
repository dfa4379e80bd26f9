"""Search over ranges of pre-activations: bounds of cases and distances, against samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.ranges import RangeRelaxation, RangeSearch
from graphprune.backends.ranges.relaxation import RangeCase
from graphprune.backends.ranges.settings import DEFAULT, RangeSettings
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.errors import GraphpruneError
from graphprune.ir import Query
from graphprune.ir.network import is_paired
from graphprune.region import Domain, norm_of
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import current
from graphprune.transforms.matrix import matrix_of
from tests.backends.test_boxes import KINDS, network_of, product_of, sampled_distance

Floats = np.ndarray
MORE = [*KINDS, "Mish", "Softsign", "Atan", "Selu", "Celu", "Abs", "Relu"]
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}


def drawn_query(kind: str, seed: int, inputs: int, norm: str, place: float) -> Query:
    network = product_of(seed, inputs) if kind == "products" else network_of(kind, seed, inputs)
    x = np.full(inputs, place, np.float32)
    anchor = gp.Anchor(x, int(run_original(network, x[None])[0].argmax()))
    return Query(network, anchor, Domain(), norm_of(norm))


def values_at(relaxation: RangeRelaxation, points: Floats) -> tuple[Floats, Floats]:
    """Pre-activations (N, total) at points (N, inputs) in layout order, and the scores."""
    compact, network = relaxation.compact, relaxation.network
    before = np.zeros((len(points), compact.total))
    values = {id(network.input): points}
    for index, segment in enumerate(network.segments):
        matrix = matrix_of(network, index)
        z = np.tile(matrix.offset, (len(points), 1))
        for source, weight in zip(segment.sources, matrix.weights, strict=True):
            z += values[id(source)] @ weight.T.toarray()
        before[:, relaxation.place(index)] = z[:, compact.order[index + 1]]
        if index < len(network.activations):
            out = network.activations[index].outputs[0]
            values[id(out)] = relaxation.activation(index).value(z)
    return before, z


def random_cases(relaxation: RangeRelaxation, rng: np.random.Generator) -> list[RangeCase]:
    """The parts of a region after some splits anywhere."""
    cases = [relaxation.root()]
    pairs = [
        is_paired(relaxation.activation(i)) for i in range(len(relaxation.network.activations))
    ]
    for _ in range(int(rng.integers(0, 6))):
        case = cases.pop(int(rng.integers(len(cases))))
        wide = case.upper - case.lower > 1e-3
        for index, paired in enumerate(pairs):
            wide[relaxation.place(index)] &= not paired
        if not wide.any():
            return [*cases, case]
        neuron = rng.choice(np.flatnonzero(wide))
        share = np.float32(rng.uniform(0.1, 0.9))
        middle = case.lower[neuron] + share * (case.upper[neuron] - case.lower[neuron])
        again = bool(rng.integers(2))
        parts, empty = relaxation.split([case], np.array([neuron]), np.array([middle]), again=again)
        cases += [part for part, none in zip(parts, empty, strict=True) if not none]
        if not cases:
            break
    return cases


@settings(max_examples=25)
@given(
    st.sampled_from(MORE), st.integers(0, 9999), st.sampled_from([1, 2]), st.floats(0.05, 0.95),
    st.floats(0.01, 0.6), st.sampled_from(sorted(ORDER)),
)  # fmt: skip
def test_cases_cover_the_region_and_their_bounds_hold_at_samples(
    kind: str, seed: int, inputs: int, place: float, radius: float, norm: str
) -> None:
    query = drawn_query(kind, seed, inputs, norm, place)
    ball, rng = query.ball(radius), np.random.default_rng(seed)
    try:
        layers = pre_activation_bounds(query.network, Boxes.of(ball))
    except GraphpruneError:  # not defined on all of the ball
        return
    relaxation = RangeRelaxation(query.network, ball, layers, radius)
    points = rng.uniform(ball.lower, ball.upper, (2000, inputs))
    away = np.linalg.norm(points - query.anchor.center, ORDER[norm], axis=1)
    points, away = points[away <= radius], away[away <= radius]
    before, scores = values_at(relaxation, points)
    rows = margin_rows(query.network, query.anchor.label)
    covered = np.zeros(len(points), bool)
    cases = random_cases(relaxation, rng)
    last = relaxation.place(len(query.network.activations) - 1).stop
    own = slice(relaxation.place(0).start, last)
    for case in cases:
        lower, upper = case.lower[own].astype(float), case.upper[own].astype(float)
        z = before[:, own]
        covered |= np.all((z >= lower - 1e-12) & (z <= upper + 1e-12), axis=1)
        inside = np.all((z >= lower) & (z <= upper), axis=1)
        row = rows[rng.integers(len(rows))]
        limit = float(rng.normal(0, 0.3))
        found = relaxation.bound([case], row[None], np.array([limit]), int(rng.integers(0, 12)))
        excess = scores[inside] @ row - limit
        assert found.bound[0] <= excess.min(initial=np.inf) + 1e-9
        assert found.radius[0] <= away[inside][excess <= 0.0].min(initial=np.inf) + 1e-9
    assert covered.all()


# All of the steps in every case, or a few first.
SIZES = [replace(DEFAULT, small=small) for small in (1000, 0)]


def closed_interval(
    query: Query, seconds: float, size: RangeSettings = DEFAULT
) -> DistanceInterval:
    attack = gp.attack(query.network, query.anchor, norm=str(query.norm))
    cutoff = query.domain.search_limit(query.anchor.x, query.norm, None)
    problem = DistanceProblem(query.network, query.anchor, query.domain, cutoff, norm=query.norm)
    interval = DistanceInterval(problem)
    if attack.witness is not None:
        interval.accept(attack.witness)
    RangeSearch(size).run(interval, current().within(seconds))
    return interval


@settings(max_examples=6)
@given(
    st.sampled_from([*KINDS, "Relu"]), st.integers(0, 9999), st.sampled_from([1, 2]),
    st.floats(0.05, 0.95), st.sampled_from(SIZES),
)  # fmt: skip
def test_no_lower_end_is_beyond_a_sampled_point(
    kind: str, seed: int, inputs: int, place: float, size: RangeSettings
) -> None:
    query = drawn_query(kind, seed, inputs, "linf", place)
    interval = closed_interval(query, 1.0, size)
    assert interval.lower <= sampled_distance(query.network, query.anchor)
    assert interval.certified


@pytest.mark.parametrize("size", SIZES, ids=["all steps", "few steps"])
@pytest.mark.parametrize("kind", ["Sigmoid", "HardSwish"])
def test_the_search_closes_with_few_steps_too(kind: str, size: RangeSettings) -> None:
    interval = closed_interval(drawn_query(kind, 1, 12, "linf", 0.5), 20.0, size)
    assert interval.closed
    assert interval.certified
    assert interval.nodes > 0


@pytest.mark.parametrize("kind", ["Tanh", "Sigmoid", "Softplus", "HardSwish"])
def test_networks_with_many_inputs_are_exact(kind: str) -> None:
    network = network_of(kind, 1, 12)
    x = np.full(12, 0.5, np.float32)
    anchor = gp.Anchor(x, int(run_original(network, x[None])[0].argmax()))
    found = gp.distance(network, anchor, time_limit=20)
    assert (found.status, found.certified) == ("exact", True)
