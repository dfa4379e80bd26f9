"""Networks of one output as classifiers, and margins that a class must win by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

import graphprune as gp
from graphprune.runtime.original import run_original
from graphprune.runtime.reference import forward64
from tests.canonical.models import model_of, node

RNG = np.random.default_rng(5)
WEIGHTS = {
    "w": RNG.normal(size=(4, 5)).astype(np.float32),
    "v": RNG.normal(size=(5, 1)).astype(np.float32),
    "u": RNG.normal(size=(5, 3)).astype(np.float32),
}
BODY = [node("MatMul", "x w", "a"), node("Relu", "a", "h")]


def single(last: str | None) -> gp.Network:
    nodes = [*BODY, node("MatMul", "h v", "y" if last is None else "z")]
    nodes += [] if last is None else [node(last, "z", "y")]
    return gp.from_proto(model_of(nodes, ["n", 4], constants=WEIGHTS))


@pytest.mark.parametrize(
    ("last", "threshold", "at"),
    [(None, None, 0.0), (None, 0.7, 0.7), ("Sigmoid", None, 0.0), ("Tanh", None, 0.0),
     ("Sigmoid", 0.8, float(np.log(0.8 / 0.2))), ("Tanh", 0.3, float(np.arctanh(0.3)))],
)  # fmt: skip
def test_one_output_is_two_classes(last: str | None, threshold: float | None, at: float) -> None:
    network = single(last)
    classifier = gp.as_classifier(network, threshold)
    assert classifier.classes == 2
    assert classifier.piecewise_linear
    x = RNG.normal(size=(50, 4)).astype(np.float32)
    z = run_original(network, x)[:, 0]
    scores = run_original(classifier, x)
    np.testing.assert_allclose(scores, np.stack([0 * z, z - at], axis=1), atol=1e-6)
    assert 0 < np.sum(scores.argmax(1)) < 50


def test_a_linear_logit_has_its_distance_in_closed_form() -> None:
    v = np.array([[2.0], [-1.0]], np.float32)
    nodes = [node("MatMul", "x v", "z"), node("Sigmoid", "z", "y")]
    network = gp.as_classifier(gp.from_proto(model_of(nodes, ["n", 2], constants={"v": v})), 0.6)
    anchor = gp.Anchor(np.array([0.2, 0.6], np.float32), 0)
    found = gp.distance(network, anchor)
    expected = (np.log(0.6 / 0.4) - (0.4 - 0.6)) / 3.0
    assert found.status == "exact"
    assert found.upper == pytest.approx(expected, rel=1e-4)
    assert expit(0.4 - 0.6 + 3 * expected) == pytest.approx(0.6)


@pytest.mark.parametrize("threshold", [1.0, 0.0, -0.5, float("nan")])
def test_a_threshold_that_is_never_taken_is_refused(threshold: float) -> None:
    with pytest.raises(gp.GraphpruneError, match="one class would have every point"):
        gp.as_classifier(single("Sigmoid"), threshold)


def test_several_classes_have_no_threshold() -> None:
    nodes = [*BODY, node("MatMul", "h u", "y")]
    network = gp.from_proto(model_of(nodes, ["n", 4], constants=WEIGHTS))
    assert gp.as_classifier(network) is network
    with pytest.raises(gp.GraphpruneError, match="one output; this one has 3"):
        gp.as_classifier(network, 0.5)


@given(st.integers(0, 2), st.sampled_from([0.0, 0.25, 1.5]), st.booleans())
def test_a_margin_is_what_the_other_class_must_win_by(
    label: int, margin: float, softmax: bool
) -> None:
    nodes = [*BODY, node("MatMul", "h u", "z" if softmax else "y")]
    nodes += [node("Softmax", "z", "y", axis=1)] if softmax else []
    network = gp.from_proto(model_of(nodes, ["n", 4], constants=WEIGHTS))
    asked = gp.with_margin(network, label, margin)
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    raised = run_original(network, x) + margin * np.eye(3)[label]
    np.testing.assert_allclose(run_original(asked, x), raised, atol=1e-6)
    assert asked is gp.with_margin(network, label, margin)


@pytest.mark.parametrize("margin", [-1.0, float("inf"), float("nan")])
def test_bad_margins_are_refused(margin: float) -> None:
    with pytest.raises(gp.GraphpruneError, match="0 or more"):
        gp.with_margin(single(None), 0, margin)


def test_a_larger_margin_is_never_nearer() -> None:
    nodes = [*BODY, node("MatMul", "h u", "y")]
    network = gp.from_proto(model_of(nodes, ["n", 4], constants=WEIGHTS))
    x = np.full(4, 0.5, np.float32)
    label = int(run_original(network, x[None]).argmax())
    last = 0.0
    for margin in (0.0, 0.05, 0.2):
        found = gp.distance(
            gp.with_margin(network, label, margin), gp.Anchor(x, label),
            domain=gp.Domain(-np.inf, np.inf),
        )  # fmt: skip
        assert found.status == "exact"
        assert found.upper is not None
        assert found.upper >= last
        last = found.upper
        assert found.witness is not None
        y = run_original(network, found.witness.x[None])[0]
        assert y[found.witness.target] - y[label] >= margin - 1e-6


def test_a_rewritten_network_is_asked_as_it_is(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    """Not as the file that its points are confirmed by."""
    pipeline = gp.Pipeline.parse("prune-constant{gamma=0.9}, fuse-affine")
    pruned = pipeline.run(tiny, images[0]).network
    stable = gp.Pipeline.parse("prune-stable, fuse-affine").run(tiny, images[0]).network
    x = RNG.uniform(size=(5, *tiny.input_shape)).astype(np.float32)
    for network in (pruned, stable):
        own = forward64(network, x)[0]
        assert not np.allclose(own, forward64(tiny, x)[0], atol=1e-3)  # far from the ball
        asked = gp.with_margin(network, 3, 0.5)
        np.testing.assert_allclose(forward64(asked, x)[0], own + 0.5 * np.eye(10)[3], atol=1e-5)


def test_questions_can_be_asked_of_each_other() -> None:
    classifier = gp.as_classifier(single("Sigmoid"), 0.8)
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    asked = gp.with_margin(gp.with_margin(classifier, 0, 0.5), 1, 0.25)
    expected = run_original(classifier, x) + np.array([0.5, 0.25])
    np.testing.assert_allclose(run_original(asked, x), expected, atol=1e-6)
    np.testing.assert_allclose(forward64(asked, x)[0], expected, atol=1e-6)
