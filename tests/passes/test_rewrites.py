"""What every rewrite promises, and where it must not fire."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.bounds import PreActivationBounds
from graphprune.ir import annotation
from graphprune.ir.network import operator, pre_activation
from graphprune.operators import Conv, Relu
from graphprune.passes.analysis.activations import RecordedActivations
from graphprune.pipeline.verify import samples_in
from graphprune.region import Ball, Box
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from graphprune.substitutes.replacements import secant
from graphprune.substitutes.schedule import rounds_of
from graphprune.testing import anchors, assert_equivalent, networks
from tests.conftest import Floor, random_points
from tests.oracles import Perceptron


def logits(network: gp.Network, *points: np.ndarray) -> np.ndarray:
    return forward64(network, np.stack([p.astype(float) for p in points]))[0]


def same(f: gp.Network, g: gp.Network, *points: np.ndarray) -> None:
    assert_equivalent(f, g, on=np.stack([p.astype(float) for p in points]))


@given(networks(), st.integers(0, 1000))
def test_fuse_affine_keeps_the_function_and_never_adds_work(network: gp.Network, seed: int) -> None:
    fused = gp.Pipeline.parse("fuse-affine").run(network).network
    same(network, fused, *random_points(network, seed=seed))
    assert fused.multiply_adds <= network.multiply_adds
    assert fused.live_neurons <= network.live_neurons


@given(st.data(), st.sampled_from([0.02, 0.1]))
def test_prune_stable_is_exact_on_the_ball(data: st.DataObject, radius: float) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    text = f"bounds{{radius={radius}}}, prune-stable"
    pruned = gp.Pipeline.parse(text).run(network, anchor).network
    fused = gp.Pipeline.parse(f"{text}, fuse-affine").run(network, anchor).network
    points = samples_in(Ball(anchor.x.astype(float), radius), 20, 0)
    same(network, pruned, *points)
    same(network, fused, *points)
    assert fused.live_neurons <= network.live_neurons


@given(st.data(), st.sampled_from([0.3, 0.75, 0.95]))
def test_prune_constant_keeps_the_anchor(floor: Floor, data: st.DataObject, gamma: float) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    text = f"prune-constant{{gamma={gamma} radius=0.1}}"
    result = gp.Pipeline.parse(text).run(network, anchor).network
    fused = gp.Pipeline.parse(f"{text}, fuse-affine").run(network, anchor).network
    same(network, result, anchor.x)
    same(result, fused, *random_points(network))
    floor.checked(len(network.activations) > 1, least=10)
    if len(network.activations) > 1:
        first, rest = network.live(network.activations[0]).sum(), network.live_neurons
        removable = rest - first
        assert result.live_neurons <= network.live_neurons
        assert removable == 0 or result.live_neurons - first <= (1 - gamma) * removable + len(
            network.activations
        )


@given(st.data(), st.integers(0, 4))
def test_linearize_secant_keeps_anchor_and_adversarial(
    floor: Floor, data: st.DataObject, layers: int
) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    found = gp.attack(network, anchor, effort="fast")
    floor.checked(found.witness is not None, least=10)
    if found.witness is None:
        return
    text = f"linearize-secant{{layers={layers}}}"
    for pipeline in (text, f"{text}, fuse-affine"):
        run = gp.Pipeline.parse(pipeline).run(network, anchor, facts=(found,))
        same(network, run.network, anchor.x, found.witness.x)
        assert len(run.network.activations) <= max(len(network.activations) - layers, 0)
    proto = gp.from_proto(gp.to_proto(run.network))
    assert np.allclose(
        run_original(proto, anchor.x[None]), logits(network, anchor.x), atol=1e-3, rtol=1e-4
    )


@given(st.data(), st.integers(1, 3))
def test_distance_of_a_secant_substitute_is_at_most_the_attack(
    floor: Floor, data: st.DataObject, layers: int
) -> None:
    network = data.draw(networks(conv=False))
    anchor = data.draw(anchors(network))
    found = gp.attack(network, anchor, effort="fast")
    floor.checked(found.witness is not None, least=10)
    if found.witness is None:
        return
    text = f"linearize-secant{{layers={layers}}}, fuse-affine"
    substitute = gp.Pipeline.parse(text).run(network, anchor, facts=(found,)).network
    result = gp.distance(substitute, anchor, time_limit=20)
    assert result.upper is not None
    assert found.distance is not None
    assert result.upper <= found.distance * (1 + 1e-3) + 1e-6


def test_layers_are_taken_from_the_second_on_and_the_first_last(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.attack(tiny, images[0])
    sizes = [int(tiny.live(a).sum()) for a in tiny.activations]
    for layers, left in ((1, sizes[0] + sizes[2]), (2, sizes[0]), (3, 0)):
        text = f"linearize-secant{{layers={layers}}}"
        result = gp.Pipeline.parse(text).run(tiny, images[0], facts=(found,))
        assert result.network.live_neurons == left
    only = gp.Pipeline.parse("linearize-secant{only=1+3}").run(tiny, images[0], facts=(found,))
    assert only.network.live_neurons == sizes[1]
    with pytest.raises(gp.GraphpruneError, match="layer 4 asked for, the network has 3"):
        gp.Pipeline.parse("linearize-secant{only=4}").run(tiny, images[0], facts=(found,))


def test_the_first_layer_is_never_made_constant(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    result = gp.Pipeline.parse("prune-constant{gamma=0.95}").run(tiny, images[0]).network
    first = result.activations[0].outputs[0]
    assert [type(operator(user)) for user, _ in first.uses()] == [Conv]
    removed = result.model.metadata_props["graphprune.rewrites"]
    assert '"removed": [0, ' in removed


def test_rounds_of_algorithm_1() -> None:
    assert rounds_of(0.5, 0.5) == 1
    assert rounds_of(0.36, 0.2) == 2  # 0.8 * 0.8 is a little above 0.64 in float64
    assert rounds_of(0.75, 0.05) == 28
    assert (1 - 0.05) ** 27 > 0.25 >= (1 - 0.05) ** 28


def test_secant_slopes_stay_between_0_and_1_and_equal_points_give_the_constant() -> None:
    z0 = np.array([-1.0, 1.0, 2.0, -2.0, 3.0, -3.0, 1e-300])
    z1 = np.array([1.0, -1.0, 3.0, -1.0, 3.0, -3.0, 1.1e-300])
    slope, offset = secant(z0, z1, Relu())
    assert np.all((slope >= 0) & (slope <= 1))
    assert np.allclose(slope, [0.5, 0.5, 1, 0, 0, 0, 1])
    assert np.allclose(slope * z0 + offset, np.maximum(z0, 0))
    assert offset[4] == 3.0
    assert offset[5] == 0.0


def test_analyses_annotate_the_values(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    network = gp.load(tiny.source.path or "")
    result = gp.Pipeline.parse("attack, activations, bounds{method=crown}").run(network, images[0])
    found = result.state.facts[Attack]
    for activation in network.activations:
        value = pre_activation(activation)
        recorded, bounds = (
            annotation(value, RecordedActivations),
            annotation(value, PreActivationBounds),
        )
        assert recorded is not None
        assert bounds is not None
        assert bounds.radius == found.distance
        assert recorded.at_adversarial is not None
        for z in (recorded.at_anchor, recorded.at_adversarial):
            assert np.all((bounds.lower <= z) & (z <= bounds.upper))


def test_metadata_says_what_was_done(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    text = "prune-constant{gamma=0.5}, fuse-affine"
    result = gp.Pipeline.parse(text).run(tiny, images[0])
    props = {p.key: p.value for p in gp.to_proto(result.network).metadata_props}
    assert props["graphprune.pipeline"] == text
    assert len(props["graphprune.anchor"]) == 64
    assert float(props["graphprune.radius"]) == gp.attack(tiny, images[0]).distance
    assert "prune-constant" in props["graphprune.rewrites"]


def test_a_second_ball_promises_no_more_than_the_first(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    for radii in ((0.02, 0.08), (0.08, 0.02)):
        text = ", ".join(f"bounds{{radius={radius}}}, prune-stable" for radius in radii)
        result = gp.Pipeline.parse(text).run(tiny, images[0], verify=True)
        props = result.network.model.metadata_props
        assert float(props["graphprune.radius"]) == 0.02
        # Every rewrite still says what it was made for.
        made = [float(entry["radius"]) for entry in json.loads(props["graphprune.rewrites"])]
        assert made == list(radii)
        region = result.state.region
        assert isinstance(region, Ball)
        assert region.radius == 0.02
        same(tiny, result.network, *samples_in(region, 20))


def test_a_ball_after_a_box_promises_what_lies_in_both(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    text = "bounds, prune-stable, bounds{radius=0.1}, prune-stable"
    x = images[0].x.astype(float)
    box = Box(np.maximum(x - 0.02, 0.0), np.minimum(x + 0.2, 1.0))
    result = gp.Pipeline.parse(text).run(tiny, images[0], box=box, verify=True)
    region = result.state.region
    assert region is not None
    assert np.array_equal(region.lower, box.lower)
    assert np.array_equal(region.upper, np.minimum(x + 0.1, 1.0))
    same(tiny, result.network, *samples_in(region, 20))
    apart = Box(np.full(x.shape, 0.4), np.full(x.shape, 0.6))
    with pytest.raises(gp.GraphpruneError, match="pass 'prune-stable': .* do not meet"):
        gp.Pipeline.parse(text).run(tiny, images[0], box=apart)


@pytest.mark.parametrize("text", ["bounds{radius=0.2}, prune-stable", "linearize-secant{layers=2}"])
def test_neurons_that_nothing_reads_are_not_counted(text: str) -> None:
    net = Perceptron.random(np.random.default_rng(0), [3, 6, 5, 2])
    net.weights[1][:, 2] = 0.0
    net.weights[2][:, 1] = 0.0
    network = gp.from_proto(net.model())
    anchor = gp.Anchor(np.full(3, 0.5, np.float32), 0)
    found = Attack(Witness(np.full(3, 0.6, np.float32), 0.1, 1), 0.0)
    result = gp.Pipeline.parse(text).run(network, anchor, facts=(found,)).network
    (entry,) = json.loads(result.model.metadata_props["graphprune.rewrites"])
    gone = network.live_neurons - result.live_neurons
    assert sum(entry["replaced"].values()) == gone > 0
    if "removed" in entry:
        assert sum(entry["removed"]) == gone
        assert len(entry["removed"]) == len(network.activations)


def test_dead_layers_go_and_the_matrices_around_them_become_one() -> None:
    net = Perceptron.random(np.random.default_rng(0), [3, 6, 5, 2])
    net.weights[1][:] = 0.0
    network = gp.from_proto(net.model())
    result = gp.Pipeline.parse("dead-code").run(network).network
    same(network, result, *random_points(network))
    assert len(result.activations) == 1
    assert result.neurons == 5
    # One matrix to the layer that is left, one to the logits.
    assert [type(operator(node)).__name__ for node in result.nodes] == ["Dense", "Relu", "Dense"]
    assert result.parameters < network.parameters


def test_rewrites_leave_the_given_network_alone(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    x = random_points(tiny)
    before = forward64(tiny, x)[0]
    nodes = [n.name for n in tiny.model.graph]
    for text in ("prune-constant", "prune-stable", "linearize-secant", "fuse-affine", "dead-code"):
        gp.Pipeline.parse(text).run(tiny, images[0])
    assert np.array_equal(before, forward64(gp.Network(tiny.model, tiny.source), x)[0])
    assert nodes == [n.name for n in tiny.model.graph]
