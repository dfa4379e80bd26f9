"""The frame of substitutes: every line and rank, the points kept, the neurons chosen."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.region import Ball, Domain
from graphprune.runtime.reference import forward64
from graphprune.substitutes import KeptPoints, LocalContext, replace_least, replacements, scores
from graphprune.substitutes.replacements import through_kept
from graphprune.testing import anchors, networks
from graphprune.transforms.replace import apply
from tests.conftest import random_points
from tests.oracles import Perceptron
from tests.passes.test_rewrites import logits, same


def context_of(
    network: gp.Network, anchor: gp.Anchor, *keep: np.ndarray, radius: float
) -> LocalContext:
    ball = Ball(anchor.x.astype(np.float64), radius, Domain())
    return LocalContext(network, anchor, ball, keep, "crown")


def boundary_point(network: gp.Network, anchor: gp.Anchor) -> Attack | None:
    found = gp.attack(network, anchor, effort="fast")
    return None if found.witness is None else found


@pytest.mark.parametrize("by", replacements())
@pytest.mark.parametrize("rank", scores())
@settings(max_examples=5)
@given(st.data())
def test_every_substitute_keeps_the_anchor(by: str, rank: str, data: st.DataObject) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    found = boundary_point(network, anchor)
    if found is None:
        return
    gamma = data.draw(st.sampled_from([0.5, 0.9]))
    text = f"substitute{{by={by} rank={rank} gamma={gamma} only=1}}, fuse-affine"
    result = gp.Pipeline.parse(text).run(network, anchor, facts=(found,)).network
    same(network, result, anchor.x)
    before = network.live(network.activations[0]).sum()
    gone = network.live_neurons - result.live_neurons
    assert gone >= gamma * before - 1


@settings(max_examples=20)
@given(st.data())
def test_combined_keeps_the_adversarial_so_its_distance_is_no_larger(data: st.DataObject) -> None:
    network = data.draw(networks(conv=False))
    anchor = data.draw(anchors(network))
    found = boundary_point(network, anchor)
    if found is None or found.witness is None or found.distance is None:
        return
    text = "combined{gamma=0.5}, fuse-affine"
    result = gp.Pipeline.parse(text).run(network, anchor, facts=(found,)).network
    same(network, result, anchor.x, found.witness.x)
    upper = gp.distance(result, anchor, time_limit=20).upper
    assert upper is not None
    assert upper <= found.distance * (1 + 1e-3) + 1e-6


@given(st.data(), st.integers(1, 5))
def test_secants_keep_any_number_of_points(data: st.DataObject, count: int) -> None:
    network = data.draw(networks())
    anchor = data.draw(anchors(network))
    keep = tuple(random_points(network, count, seed=3))
    context = context_of(network, anchor, *keep, radius=0.3)
    replaced = replace_least(
        context,
        range(len(network.activations)),
        through_kept,
        scores()["gap"],
        gamma=0.99,
        step=0.99,
    )
    same(network, apply(network, replaced), anchor.x, *keep)
    if count == 1:
        for i, replacement in replaced.items():
            stays = context.live(i) & ~replacement.removed
            assert stays.sum() <= 1 + 0.01 * context.live(i).sum()


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "Softplus"])
@pytest.mark.parametrize(
    "text",
    [
        "prune-constant{gamma=0.6 step=0.3}",
        "linearize-secant{layers=2}",
        "combined{gamma=0.6}",
        "substitute{gamma=0.6}",
        "substitute{gamma=0.6 by=ball rank=gap}",
    ],
)
def test_smooth_activations_are_replaced_too(kind: str, text: str) -> None:
    """The published pruners, both at once, and the others on networks without stable neurons."""
    for seed in range(4):
        model = Perceptron.random(np.random.default_rng(seed), [4, 8, 8, 6, 3]).model()
        for node in model.graph.node:
            node.op_type = kind if node.op_type == "Relu" else node.op_type
        network = gp.from_proto(model)
        x = np.random.default_rng(seed).uniform(0.2, 0.8, 4).astype(np.float32)
        anchor = gp.Anchor(x, int(logits(network, x)[0].argmax()))
        found = gp.attack(network, anchor, effort="fast")
        if found.witness is None:
            continue
        run = gp.Pipeline.parse(f"{text}, fuse-affine").run(network, anchor, facts=(found,))
        keeps = "constant" not in text and "ball" not in text
        kept = [x, *([found.witness.x] if keeps else [])]
        same(network, run.network, *kept)
        # Half of the two layers above the first are gone at least.
        assert run.network.live_neurons <= network.live_neurons - 7
        if keeps:
            assert gp.certify(run.network, anchor).radius <= found.witness.distance * 1.002


def test_kept_points_of_a_pipeline_come_before_the_attack(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    points = KeptPoints(tuple(a.x for a in images[1:4]))
    text = "substitute{gamma=0.9 radius=0.1 only=1+2+3}"
    found = gp.attack(tiny, images[0], effort="fast")
    result = gp.Pipeline.parse(text).run(tiny, images[0], facts=(found, points)).network
    same(tiny, result, images[0].x, *points.points)
    assert result.live_neurons < tiny.live_neurons


def test_ranks_mean_what_they_say(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    context = context_of(tiny, images[0], images[1].x, radius=0.05)
    bounds = context.bounds({})
    for i, layer in enumerate(bounds):
        lines = through_kept(context, i, layer)
        gap = scores()["gap"](context, i, layer, lines)
        # Float32 bounds around 0 leave the kink's error at the grid's resolution.
        assert np.all(gap[~layer.unstable[0]] <= 1e-6)
        assert np.all(gap[layer.unstable[0]] > 0)
        width = scores()["range"](context, i, layer, lines)
        assert np.array_equal(width, layer.upper[0].astype(float) - layer.lower[0])


def test_sensitivity_is_the_derivative_of_the_margin(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    anchor = images[0]
    context = context_of(tiny, anchor, radius=0.05)
    values = forward64(tiny, anchor.x[None].astype(float))
    order = np.argsort(values[0][0])
    target = next(int(t) for t in order[::-1] if t != anchor.label)
    # The last layer is read by one affine map: its derivative is that map's row.
    last = tiny.segments[-1]
    from graphprune.runtime.reference import run_segment

    units = np.eye(len(context.sensitivity[-1]))
    image = run_segment(tiny, last, [units], linear=True)
    row = image[:, anchor.label] - image[:, target]
    assert np.allclose(context.sensitivity[-1], np.abs(row), rtol=1e-5, atol=1e-6)


def test_the_margin_that_matters_is_that_of_the_first_kept_point(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    first, second = images[1].x, images[2].x
    closest = logits(tiny, first, second).argmax(axis=1)
    assert len({images[0].label, *closest}) == 3
    ways = [
        context_of(tiny, images[0], *keep, radius=0.05).sensitivity[-1]
        for keep in ((first,), (second,), (first, second), (second, first))
    ]
    # The last layer is read by one affine map: its derivative is the same at every point.
    assert np.allclose(ways[2], ways[0], rtol=1e-5, atol=1e-6)
    assert np.allclose(ways[3], ways[1], rtol=1e-5, atol=1e-6)
    assert not np.allclose(ways[0], ways[1], rtol=1e-2)


def test_influence_spares_what_matters(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """Replacing by influence moves the margins in the ball less than replacing by range."""
    found = gp.attack(tiny, images[0], effort="fast")
    assert found.witness is not None
    rng = np.random.default_rng(0)
    x = images[0].x + found.witness.distance * rng.uniform(-1, 1, (64, *images[0].x.shape))
    points = np.clip(x, 0, 1).astype(np.float32)
    errors = {}
    for rank in ("range", "influence"):
        text = f"substitute{{rank={rank} gamma=0.8 only=1+2+3}}"
        result = gp.Pipeline.parse(text).run(tiny, images[0], facts=(found,)).network
        errors[rank] = float(np.abs(logits(result, *points) - logits(tiny, *points)).mean())
    assert errors["influence"] < errors["range"]


def test_a_substitute_by_secants_needs_an_adversarial() -> None:
    weights = np.zeros((2, 3), np.float32)
    network = gp.from_proto(_constant_classifier(weights))
    anchor = gp.Anchor(np.full(3, 0.5, np.float32), 0)
    nothing = Attack(None, 0.0)
    for text in ("combined{radius=0.1}", "substitute{by=segment radius=0.1}"):
        with pytest.raises(gp.GraphpruneError, match="no adversarial point"):
            gp.Pipeline.parse(text).run(network, anchor, facts=(nothing,))
    gp.Pipeline.parse("substitute{by=ball radius=0.1}").run(network, anchor, facts=(nothing,))
    with pytest.raises(gp.GraphpruneError, match="layers are counted from 1 to 1"):
        known = Attack(Witness(anchor.x, 0.1, 1), 0.0)
        gp.Pipeline.parse("substitute{only=2}").run(network, anchor, facts=(known,))


def _constant_classifier(weights: np.ndarray) -> onnx.ModelProto:
    first = np.eye(3)
    return Perceptron([first, weights.astype(float)], [np.zeros(3), np.array([1.0, 0.0])]).model()


def test_a_step_above_gamma_is_one_round_of_gamma(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    found = gp.attack(tiny, images[0], effort="fast")
    neurons = int(sum(tiny.live(a).sum() for a in tiny.activations[1:]))
    for gamma in (0.1, 0.25):
        text = f"substitute{{gamma={gamma} step=0.5 rank=range}}, fuse-affine"
        result = gp.Pipeline.parse(text).run(tiny, images[0], facts=(found,)).network
        gone = tiny.live_neurons - result.live_neurons
        assert gone == pytest.approx(gamma * neurons, abs=2)
