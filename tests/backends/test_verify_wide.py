"""Halving boxes of few inputs on wide networks: against brute force, and where it is used."""

from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.verify import verify, wide
from graphprune.backends.verify.inputs import box_kernels_fit
from graphprune.backends.verify.query import VerificationQuery
from graphprune.backends.verify.specifications import boxes_of
from graphprune.backends.verify.wide import split_wide
from graphprune.bounds import pre_activation_bounds
from graphprune.vnnlib import Property, parse_property
from tests.backends.test_verify import check, property_text, questions
from tests.conftest import Floor
from tests.oracles import Perceptron


@settings(max_examples=20)
@given(questions(), st.booleans(), st.booleans())
def test_verdicts_equal_brute_force(
    floor: Floor, drawn: tuple[gp.Network, Property, float], short: bool, condensed: bool
) -> None:
    """Where memory is short, halves begin without their parents' bounds.

    With lines optimised on condensed networks, and where all boxes have too many neurons for that.
    """
    network, prop, best = drawn
    query = VerificationQuery.of(network, prop.regions[0], np.inf)
    if np.any(np.diff(query.first) == 0):
        return  # decided before any search
    floor.checked(abs(best) > 1e-3, least=8)
    layers = pre_activation_bounds(network, boxes_of(query))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide, "HELD", 0.0 if short else wide.HELD)
        patch.setattr(wide, "MOST_OPEN", 200)
        patch.setattr(wide, "MOST_NUMBERS", 1 << 20 if condensed else -1)
        result = split_wide(query, layers)
    assert not (result.unsat and best < -1e-6)
    assert not (result.point is not None and best > 1e-6)
    assert result.unsat or result.point is not None or result.reason


def test_a_wide_network_is_decided_by_halving(monkeypatch: pytest.MonkeyPatch) -> None:
    """What error terms of every neuron have no room for is decided without them."""
    net = Perceptron.random(np.random.default_rng(2), [3, 20, 20, 20, 2])
    network = gp.from_proto(net.model())
    points = np.random.default_rng(0).uniform(-1, 1, (2000, 3))
    margins = np.array([net.logits(x) @ [1, -1] for x in points])
    assert box_kernels_fit(network, 1 << 30)
    assert not box_kernels_fit(network, 1 << 14)
    chosen = import_module("graphprune.backends.verify.verify")
    monkeypatch.setattr(chosen, "box_kernels_fit", lambda *_: False)
    for below, answer in ((0.3, "unsat"), (-0.1, "sat")):
        limit = float(margins.min() - below * np.ptp(margins))
        text = property_text(3, 2, [(-1.0, 1.0)] * 3, f"(assert (<= (- Y_0 Y_1) {limit!r}))")
        prop = parse_property(text)
        verdict = verify(network, prop, time_limit=120)
        check(network, prop, verdict)
        assert verdict.answer == answer
