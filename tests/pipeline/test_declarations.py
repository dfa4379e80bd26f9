"""What passes declare is true: for every registered pass, on random networks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.attacks.attack import Attack
from graphprune.bounds.certify import Certificate, certified_margins
from graphprune.ir import Query
from graphprune.passes.analysis.activations import Recorded
from graphprune.passes.analysis.bounds import BallBounds
from graphprune.passes.base import ANALYSES, Rewrite, State, execute
from graphprune.pipeline.text import known_passes
from graphprune.pipeline.verify import check_promise, samples_in
from graphprune.runtime.reference import forward64, pre_activations
from graphprune.testing import anchors, networks

PASSES = sorted(known_passes())
REWRITES = [name for name in PASSES if isinstance(known_passes()[name](), Rewrite)]


def still_true(fact: object, network: gp.Network, anchor: gp.Anchor) -> bool:
    """Whether a fact about some network is one about `network` too."""
    if isinstance(fact, Attack):
        if fact.witness is None:
            return True
        logits = forward64(network, fact.witness.x[None])[0][0]
        return bool(logits[anchor.label] - logits[fact.witness.target] <= 1e-6)
    if isinstance(fact, Recorded):
        again = pre_activations(network, anchor.x)
        return len(again) == len(fact.at_anchor) and all(
            np.allclose(a[0], b) for a, b in zip(again, fact.at_anchor, strict=True)
        )
    if isinstance(fact, BallBounds):
        zs = forward64(network, samples_in(fact.region, 30))[1:]
        return len(zs) == len(fact.layers) and all(
            np.all((z.reshape(len(z), -1) >= b.lower[0]) & (z.reshape(len(z), -1) <= b.upper[0]))
            for z, b in zip(zs, fact.layers, strict=True)
        )
    if isinstance(fact, Certificate):
        # Rounding of another graph moves the certified radius a little, never the truth.
        radius = 0.99 * fact.radius
        return fact.radius == 0 or bool(
            np.min(certified_margins(Query(network, anchor), radius)) >= -1e-5
        )
    raise AssertionError(f"say when a {type(fact).__name__} is still true")


def full_state(network: gp.Network, anchor: gp.Anchor, radius: float) -> State:
    """A state with a fact of every kind, each about `network`."""
    state = State(network, anchor)
    for make in ANALYSES.values():
        item = make()
        if item.name == "bounds":
            item = replace(item, radius=radius)  # type: ignore[type-var]
        state = execute(item, state)
    return state


@pytest.mark.parametrize("name", REWRITES)
@settings(max_examples=12)
@given(st.data(), st.sampled_from([0.01, 0.3]))
def test_kept_facts_stay_true_and_others_are_dropped(
    name: str, data: st.DataObject, radius: float
) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    before = full_state(network, anchor, radius)
    item = known_passes()[name]()
    assert isinstance(item, Rewrite)
    found = before.facts[Attack]
    if Attack in item.needs and found.witness is None:
        return
    after = execute(item, before)
    assert set(after.facts) <= item.keeps
    for fact in after.facts.values():
        assert still_true(fact, after.network, anchor), type(fact).__name__
    check_promise(item, before, after)


@pytest.mark.parametrize("name", PASSES)
def test_declared_needs_are_those_asked_for(
    name: str, tiny: gp.Network, images: list[gp.Anchor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With default options and no facts a pass asks for exactly what it declares."""
    item = known_passes()[name]()
    asked: set[type] = set()
    need = State.need

    def spy(state: State, kind: type) -> object:
        if state.running == item:
            asked.add(kind)
        return need(state, kind)

    monkeypatch.setattr(State, "need", spy)
    execute(item, State(tiny, images[0]))
    assert asked == item.needs


def test_an_undeclared_need_is_refused(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    class Careless(type(known_passes()["fuse-affine"]())):  # type: ignore[misc]
        def run(self, state: State) -> State:
            return state.need(Attack)[1]

    with pytest.raises(gp.GraphpruneError, match="asks for Attack without declaring"):
        execute(Careless(), State(tiny, images[0]))
