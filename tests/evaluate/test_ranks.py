"""Several classes that count, and the K best: every metric against brute force."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.evaluate.settings import Settings
from graphprune.region import NORMS
from graphprune.runtime.original import run_original
from tests.drawn import labelled
from tests.evaluate.linear import run_about, write_linear
from tests.oracles import Perceptron, brute_force_distance, of_classes

nets = labelled([2, 3, 4], [2, 3, 2, 5])


@settings(max_examples=6)
@given(nets, st.data(), st.sampled_from(list(NORMS.values())))
def test_the_distance_of_the_k_best_is_that_of_brute_force(
    drawn: tuple[Perceptron, gp.Network, gp.Anchor], data: st.DataObject, norm: str
) -> None:
    net, network, anchor = drawn
    k = data.draw(st.integers(1, network.classes - 1))
    solver = data.draw(st.sampled_from(["search", "scip"]))
    truth = brute_force_distance(
        net, anchor.center, anchor.label, 0.0, 1.0, NORMS[norm], top_k=k
    )  # fmt: skip
    found = gp.distance(network, anchor, top_k=k, norm=norm, solver=solver)
    proof = gp.certify(network, anchor, top_k=k, norm=norm)
    attack = gp.attack(network, anchor, top_k=k, norm=norm)
    assert max(proof.radius, found.lower) <= truth * (1 + 1e-6) + 1e-6
    if np.isinf(truth):
        assert (found.witness, attack.witness) == (None, None)
        return
    assert found.upper == pytest.approx(truth, rel=2e-4, abs=2e-6)
    assert attack.distance is None or attack.distance >= truth * (1 - 1e-6) - 1e-6
    assert found.witness is not None
    scores = run_original(network, found.witness.x[None])[0]
    assert np.sum(np.delete(scores, anchor.label) >= scores[anchor.label]) >= k
    # Its class is the least of the winners.
    assert np.sum(scores > scores[found.witness.target]) < k
    assert scores[found.witness.target] >= scores[anchor.label]


@settings(max_examples=4)
@given(nets, st.data())
def test_the_distance_of_several_classes_is_that_of_their_network(
    drawn: tuple[Perceptron, gp.Network, gp.Anchor], data: st.DataObject
) -> None:
    net, network, anchor = drawn
    others = [t for t in range(network.classes) if t != anchor.label]
    targets = data.draw(st.lists(st.sampled_from(others), min_size=1, unique=True))
    truth = brute_force_distance(
        of_classes(net, [anchor.label, *targets]), anchor.center, 0, 0.0, 1.0
    )
    # Anchors of one of the classes are asked about the others.
    found = gp.distance(network, anchor, target=(*targets, anchor.label, *targets))
    assert gp.certify(network, anchor, target=targets).radius <= truth + 1e-6
    if np.isinf(truth):
        assert found.witness is None
        return
    assert found.upper == pytest.approx(truth, rel=2e-4, abs=2e-6)
    attack = gp.attack(network, anchor, target=targets)
    for point in (found.witness, attack.witness):
        assert point is None or point.target in targets


def test_fewer_margins_than_k_certify_without_a_comparison(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    """Two classes alone cannot drive the label out of the 3 best."""
    anchor = images[0]
    single = sorted(
        gp.certify(tiny, anchor, target=t).radius for t in range(10) if t != anchor.label
    )
    for k in (2, 3):
        assert gp.certify(tiny, anchor, top_k=k).radius >= 0.99 * single[k - 1]


def test_ranks_that_there_are_not_are_refused(tiny: gp.Network, images: list[gp.Anchor]) -> None:
    anchor = images[0]
    for options, said in (
        ({"top_k": 10}, "top-k 10: .* 10 classes, .* the 1 to 9 best"),
        ({"top_k": 0}, "top-k 0"),
        ({"top_k": "2"}, "no integer"),
        ({"top_k": True}, "no integer"),
        ({"top_k": 2, "target": 3}, "leave it out, or the target"),
        ({"target": ()}, "no target is given"),
        ({"target": (3, 10)}, "target 10 is out of range"),
        ({"target": (3, "a")}, "no integer"),
        ({"target": (anchor.label,)}, "own label"),
    ):
        for ask in (gp.attack, gp.certify, gp.distance):
            with pytest.raises(gp.GraphpruneError, match=said):
                ask(tiny, anchor, **options)


def test_what_is_known_of_another_rank_is_not_taken(
    tiny: gp.Network, images: list[gp.Anchor]
) -> None:
    anchor = images[0]
    attack = gp.attack(tiny, anchor, effort="fast")
    with pytest.raises(gp.GraphpruneError, match="among the 2 best"):
        gp.distance(tiny, anchor, top_k=2, known_attack=attack)
    proof = gp.certify(tiny, anchor, top_k=3)
    for top_k in (1, 2):
        with pytest.raises(gp.GraphpruneError, match="the 3 best"):
            gp.distance(tiny, anchor, top_k=top_k, known_certificate=proof)
    for target in (None, (3, 4), 5):
        with pytest.raises(gp.GraphpruneError, match="class 3, 9 alone"):
            gp.distance(
                tiny, anchor, target=target,
                known_certificate=gp.certify(tiny, anchor, target=(3, 9)),
            )  # fmt: skip
    # A certificate of more classes, and of fewer ranks, is about these too.
    known = gp.distance(
        tiny, anchor, top_k=2, known_certificate=gp.certify(tiny, anchor),
        known_attack=gp.attack(tiny, anchor, top_k=2),
    )  # fmt: skip
    assert known.status == "exact"


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """Scores x_0 to x_3 of four classes; the third anchor's label is second best."""
    x = [[0.9, 0.7, 0.3, 0.1], [0.2, 0.8, 0.4, 0.0], [0.5, 0.6, 0.1, 0.0]]
    return write_linear(tmp_path, x, [0, 1, 0])


def test_every_command_asks_about_ranks_and_several_classes(linear: Path) -> None:
    for command, metric in (("attack", "adv"), ("certify", "rob"), ("distance", "bnd")):
        _, document = run_about(linear, command, "--top-k", "2")
        records, asked = document["anchors"], document["settings"]
        assert isinstance(records, list)
        assert isinstance(asked, dict)
        assert Settings.from_json(asked).top_k == 2
        assert [r["status"] for r in records] == ["ok", "ok", "ok"]
        for record, truth in zip(records, (0.3, 0.3, 0.2), strict=True):
            value = record[f"d_{metric}"]
            assert value.get("upper", value.get("value")) == pytest.approx(truth, rel=2e-3)
            assert value.get("target", 2) in (0, 1, 2)
        _, document = run_about(linear, command, "--targets", "2-3,1", "--limit", "2")
        records, asked = document["anchors"], document["settings"]
        assert isinstance(records, list)
        assert isinstance(asked, dict)
        assert Settings.from_json(asked).target == (2, 3, 1)
        for record, truth in zip(records, (0.1, 0.2), strict=True):
            value = record[f"d_{metric}"]
            assert value.get("upper", value.get("value")) == pytest.approx(truth, rel=2e-3)
    _, document = run_about(linear, "evaluate", "--top-k", "2", "--estimate", "extrapolate",
                      "--estimate", "milp", "--html", str(linear / "r.html"))  # fmt: skip
    records = document["anchors"]
    assert isinstance(records, list)
    for record, truth in zip(records, (0.3, 0.3, 0.2), strict=True):
        for found in record["estimates"]:
            assert found["value"] == pytest.approx(truth, rel=0.05)
    assert "2 best" in (linear / "r.html").read_text()
    code, document = run_about(linear, "certify", "--targets", "0", "--limit", "2")
    records = document["anchors"]
    assert isinstance(records, list)
    assert (code, [r["status"] for r in records]) == (0, ["skipped", "ok"])


def test_wrong_ranks_have_one_message(linear: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, said in (
        (["--top-k", "4"], "the network has 4 classes"),
        (["--top-k", "0"], "--top-k"),
        (["--top-k", "two"], "--top-k"),
        (["--top-k", "2", "--target", "1"], "top-k"),
        (["--top-k", "2", "--targets", "1,2"], "top-k"),
        (["--target", "1", "--targets", "2"], "give one"),
        (["--targets", "4"], "out of range"),
        (["--targets", ""], "--targets"),
        (["--targets", "1;2"], "--targets"),
        (["--targets", "0", "--limit", "1"], "own label"),
    ):
        assert run_about(linear, "distance", *more)[0] == 2
        said_there = capsys.readouterr().err
        assert said in said_there, more
        assert "Traceback" not in said_there
