"""One class alone: every metric against brute force on the network of the two classes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.attacks.attack import AttackMethod
from graphprune.evaluate.reading import read_document
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.tasks import classify
from graphprune.report.curves import curves
from graphprune.report.table import summary_line
from graphprune.runtime.original import run_original
from tests.drawn import labelled
from tests.evaluate.linear import run_about, write_linear
from tests.oracles import Perceptron, brute_force_distance, of_classes


@pytest.mark.parametrize("solver", ["search", "scip"])
@settings(max_examples=3)
@given(drawn=labelled([2, 4, 3], [2, 3, 3, 4]))
def test_the_exact_distance_is_that_of_the_two_classes(
    solver: str, drawn: tuple[Perceptron, gp.Network, gp.Anchor]
) -> None:
    net, network, anchor = drawn
    found = {}
    for target in range(network.classes):
        if target == anchor.label:
            continue
        x0 = anchor.x.astype(float)
        truth = brute_force_distance(of_classes(net, [anchor.label, target]), x0, 0, 0.0, 1.0)
        result = gp.distance(network, anchor, target=target, solver=solver)
        found[target] = result
        assert result.lower <= truth + 1e-6
        if np.isinf(truth):
            assert result.witness is None
            continue
        assert result.witness is not None
        assert result.upper == pytest.approx(truth, rel=2e-4, abs=2e-6)
        assert result.witness.target == target
        scores = run_original(network, result.witness.x[None])[0]
        assert scores[target] >= scores[anchor.label]
    nearest = gp.distance(network, anchor, solver=solver)
    uppers = [r.upper for r in found.values() if r.upper is not None]
    if uppers:
        assert nearest.upper == pytest.approx(min(uppers), rel=2e-4, abs=2e-6)


@settings(max_examples=5)
@given(drawn=labelled([2, 4, 3]), method=st.sampled_from(["descent", "pgd"]))
def test_attack_and_certificate_bracket_the_distance_of_one_class(
    drawn: tuple[Perceptron, gp.Network, gp.Anchor], method: AttackMethod
) -> None:
    net, network, anchor = drawn
    for target in range(network.classes):
        if target == anchor.label:
            continue
        x0 = anchor.x.astype(float)
        truth = brute_force_distance(of_classes(net, [anchor.label, target]), x0, 0, 0.0, 1.0)
        found = gp.attack(network, anchor, target=target, method=method, effort="fast")
        assert found.witness is None or found.witness.target == target
        assert found.distance is None or found.distance >= truth - 1e-6
        proof = gp.certify(network, anchor, target=target)
        assert proof.radius <= truth + 1e-6
        # A margin among several is bounded as it is alone.
        assert proof.radius >= 0.99 * gp.certify(network, anchor).radius


def test_no_other_class_is_refused(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    anchor = images[0]
    for target, said in (
        (anchor.label, "anchor's own label"),
        (10, "out of range: the network has classes 0 to 9"),
        (-1, "out of range"),
        ("3", "no integer"),
        (True, "no integer"),
    ):
        for ask in (gp.attack, gp.certify, gp.distance):
            with pytest.raises(gp.GraphpruneError, match=said):
                ask(network=tiny, anchor=anchor, target=target)  # type: ignore[arg-type]


def test_what_is_known_of_another_class_is_not_taken(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    anchor = images[0]
    first, second = [t for t in range(3) if t != anchor.label][:2]
    attack = gp.attack(tiny, anchor, target=first, effort="fast")
    with pytest.raises(gp.GraphpruneError, match=f"is of class {first}"):
        gp.distance(tiny, anchor, target=second, known_attack=attack)
    proof = gp.certify(tiny, anchor, target=first)
    for target in (None, second):
        with pytest.raises(gp.GraphpruneError, match=f"about class {first} alone"):
            gp.distance(tiny, anchor, target=target, known_certificate=proof)


def test_anchors_of_the_target_cannot_be_asked_about(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    target = images[0].label
    starts = classify(tiny, images[:10], target)
    for anchor, start in zip(images, starts, strict=False):
        assert (start.status == "skipped") == (anchor.label == target)


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """Scores x_0, x_1, x_2 of three classes."""
    return write_linear(tmp_path, [[0.9, 0.7, 0.3], [0.2, 0.8, 0.4]], [0, 1])


def test_every_command_asks_about_one_class(linear: Path) -> None:
    for command, metrics in (("attack", "adv"), ("certify", "rob"), ("distance", "bnd")):
        _, document = run_about(linear, command, "--target", "2")
        anchors, asked = document["anchors"], document["settings"]
        assert isinstance(anchors, list)
        assert isinstance(asked, dict)
        assert Settings.from_json(asked).target == 2
        for record, truth in zip(anchors, (0.3, 0.2), strict=True):
            value = record[f"d_{metrics}"]
            assert value.get("upper", value.get("value")) == pytest.approx(truth, rel=2e-3)
            assert value.get("target", 2) == 2
    _, document = run_about(
        linear, "evaluate", "--target", "2", "--estimate", "extrapolate", "--estimate", "nearest"
    )
    anchors = document["anchors"]
    assert isinstance(anchors, list)
    for record, truth in zip(anchors, (0.3, 0.2), strict=True):
        for found in record["estimates"]:
            assert found["value"] == pytest.approx(truth, rel=0.05)


def test_an_anchor_of_the_class_is_skipped_and_a_file_of_them_refused(
    linear: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = run_about(linear, "certify", "--target", "0", "--radius", "0.1")
    assert code == 0
    anchors = document["anchors"]
    assert isinstance(anchors, list)
    assert [record["status"] for record in anchors] == ["skipped", "ok"]
    assert "own label" in anchors[0]["message"]
    # The one anchor that was asked about is all that accuracies are about.
    summary = document["summary"]
    assert isinstance(summary, dict)
    assert (summary["skipped"], summary["ok"], summary["error"]) == (1, 1, 0)
    assert summary["at_radius"]["certified_accuracy"] == 1.0
    assert "at_radius" not in anchors[0]
    found = read_document(document)
    assert "1 ok, 1 skipped (of the target class)" in summary_line(found)
    assert np.all(curves(found.anchors).attacked == 1.0)
    assert curves(found.anchors).certified[0] == 1.0
    for more, said in (
        (["--target", "0", "--limit", "1"], "own label"),
        (["--target", "3"], "out of range"),
        (["--target", "-1"], "--target"),
    ):
        assert run_about(linear, "certify", *more)[0] == 2
        assert said in capsys.readouterr().err
