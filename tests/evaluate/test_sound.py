"""Sound substitutes: their interval holds the exact distance, whatever is enclosed."""

from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.protocol import DistanceInterval, DistanceProblem
from graphprune.backends.relaxation.condensed import bounds_of, condense
from graphprune.backends.scip.influence import most_damaging
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.evaluate.estimates import parse_estimate
from graphprune.evaluate.estimates.sound import Ladder, Sound
from graphprune.evaluate.settings import Metric, Settings
from graphprune.region import Ball
from graphprune.runtime.original import run_original
from graphprune.runtime.resources import Resources
from tests.evaluate.test_estimates import estimate, perceptrons
from tests.oracles import Perceptron, brute_force_distance


@settings(max_examples=25)
@given(perceptrons(), st.sampled_from([0, 1, 3]), st.sampled_from([1e-4, 0.2, 0.5]))
def test_the_interval_holds_the_exact_distance(
    case: tuple[Perceptron, gp.Network, gp.Anchor], first: int, gap: float
) -> None:
    net, network, anchor = case
    found = gp.attack(network, anchor, effort="fast")
    if found.distance is None:
        return
    spec = f"sound{{first={first} gap={gap}}}"
    record, witness = estimate(network, anchor, Settings(), spec, Metric.BND, found)
    assert "message" not in record, record
    truth = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    assert record["lower"] <= truth + 1e-6
    assert record["upper"] >= truth - 1e-6
    assert record["upper"] - record["lower"] <= 1.01 * gap * record["upper"] + 1e-6
    assert record["lower"] <= record["value"] <= record["upper"]
    assert witness is not None
    logits = run_original(network, witness.x[None])[0]
    assert logits[witness.target] >= logits[anchor.label]


@settings(max_examples=25)
@given(perceptrons(), st.sampled_from([0, 1, 3]), st.sampled_from([1e-4, 0.2, 0.5]))
def test_the_ladder_alone_closes_the_interval(
    case: tuple[Perceptron, gp.Network, gp.Anchor], first: int, gap: float
) -> None:
    """Without the search, which settles networks this small before the first step."""
    net, network, anchor = case
    found = gp.attack(network, anchor, effort="fast")
    if found.witness is None:
        return
    interval = DistanceInterval(DistanceProblem(network, anchor, gp.Domain(), 1.0, gap))
    interval.accept(found.witness)
    ladder = Ladder(Sound(first=first, most=1000, gap=gap))
    ladder.run(interval, Resources())
    truth = brute_force_distance(net, anchor.x.astype(float), anchor.label, 0.0, 1.0)
    assert interval.lower <= truth + 1e-6
    assert interval.upper >= truth - 1e-6
    assert interval.closed
    assert ladder.exact is not None or interval.lower == 0.0
    assert interval.lower == 0.0 or not interval.certified  # it rests on SCIP's numerics


def test_a_loose_gap_ends_the_search_early(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    for image in images[:2]:
        loose = gp.distance(tiny, image, gap=0.5, time_limit=60)
        tight = gp.distance(tiny, image, time_limit=60)
        assert loose.upper is not None
        assert tight.upper is not None
        assert loose.upper - loose.lower <= 0.5 * loose.upper
        assert loose.lower <= tight.upper
        assert loose.upper >= tight.lower
        assert loose.nodes <= tight.nodes


def test_more_exact_neurons_are_never_looser(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """Without the exact solver at its end (no time is left for it) the ladder alone is sound."""
    from graphprune.backends.scip.solve import solve_target

    anchor = images[0]
    found = gp.attack(tiny, anchor)
    assert found.distance is not None
    assert found.witness is not None
    ball = Ball(anchor.x.astype(float), found.distance)
    layers = pre_activation_bounds(tiny, Boxes.of(ball))
    condensed = condense(tiny, bounds_of(layers), ball)
    row = np.zeros(10)
    row[anchor.label], row[found.witness.target] = 1.0, -1.0
    lowers = []
    for count in (0, 8, condensed.unstable):
        exact = most_damaging(condensed, row, count)
        assert sum(int(e.sum()) for e in exact) == count
        limited = Resources(monotonic() + 60.0)
        result = solve_target(condensed, ball, row, lower=0.0, resources=limited, exact=exact)
        assert result.finished
        lowers.append(result.lower)
    assert lowers[0] <= lowers[1] * (1 + 1e-4)
    assert lowers[1] <= lowers[2] * (1 + 1e-4)
    assert lowers[2] <= found.distance
    assert lowers[0] < lowers[2]


def test_every_target_is_looked_at(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    found = gp.attack(tiny, images[1])
    record, _ = estimate(tiny, images[1], Settings(time_limit=60), "sound", Metric.BND, found)
    exact = gp.distance(tiny, images[1], time_limit=60)
    assert exact.upper is not None
    assert record["lower"] <= exact.upper
    assert record["upper"] >= exact.lower
    assert margin_rows(tiny, images[1].label).shape == (9, 10)


def test_options_are_checked() -> None:
    for text in ("sound{growth=1}", "sound{share=1}", "sound{gap=0}", "sound{first=-1}"):
        with pytest.raises(gp.GraphpruneError, match="growth > 1"):
            parse_estimate(text)
