"""Rows beside the published tables: counts, means, and files of decisions that are gone on with."""

import json
from pathlib import Path

import numpy as np
import pytest

import graphprune as gp
from benchmarks import barrier
from benchmarks.barrier import Decision, Distortion, Question, Record
from tests.oracles import Perceptron, brute_force_distance

LIMIT = 5.0


@pytest.fixture(scope="module")
def perceptron() -> Perceptron:
    return Perceptron.random(np.random.default_rng(6), [3, 4, 3])


@pytest.fixture(scope="module")
def anchors(perceptron: Perceptron) -> list[gp.Anchor]:
    """Points rightly labelled, and a wrong one at the end."""
    points = np.random.default_rng(4).uniform(0.1, 0.9, (5, 3)).astype(np.float32)
    labels = [int(perceptron.logits(point.astype(float)).argmax()) for point in points]
    labels[-1] = (labels[-1] + 1) % 3
    return [gp.Anchor(x, y, i) for i, (x, y) in enumerate(zip(points, labels, strict=True))]


def test_distortions_have_no_domain(perceptron: Perceptron, anchors: list[gp.Anchor]) -> None:
    network = gp.from_proto(perceptron.model())
    kept = barrier.right(network, anchors)
    assert [anchor.index for anchor in kept] == [0, 1, 2, 3]
    found = list(barrier.distortions(network, kept, LIMIT))
    for anchor, one in zip(kept, found, strict=True):
        x = anchor.x.astype(float)
        true = brute_force_distance(perceptron, x, anchor.label, -np.inf, np.inf)
        assert one.exact
        assert one.lower <= true * (1 + 1e-6)
        assert one.upper >= true * (1 - 1e-6)
        assert one.gap <= 1e-4


def test_a_row_of_distortions_is_in_thousandths_and_per_cent() -> None:
    found = [Distortion(0.01, 0.02, False, 1.0), Distortion(0.03, 0.03, True, 3.0)]
    text = barrier.distortion_row("n", found, barrier.PublishedDistortion(1.5, 2.5, 40.0))
    assert text == "| n | 2 | 1 | 20.00 | 1.5 | 25.00 | 2.5 | 25.00 | 40.0 | 2.0 | 3.0 |"
    assert text.count("|") == len(barrier.DISTORTION_HEAD) + 1


def test_decisions_agree_with_distances(perceptron: Perceptron, anchors: list[gp.Anchor]) -> None:
    network = gp.from_proto(perceptron.model())
    true = [
        brute_force_distance(perceptron, a.x.astype(float), a.label, 0.0, 1.0) for a in anchors[:-1]
    ]
    question = Question("n", float(np.mean(sorted(true)[1:3])), LIMIT)
    found = barrier.decisions(network, anchors, question, Record(None, question))
    expected = ["attacked" if d <= question.radius else "certified" for d in true]
    assert [one.verdict for one in found] == [*expected, "error"]
    assert {"attacked", "certified"} == set(expected)


def test_a_file_of_decisions_is_gone_on_with(
    perceptron: Perceptron, anchors: list[gp.Anchor], tmp_path: Path
) -> None:
    network = gp.from_proto(perceptron.model())
    path, question = tmp_path / "d.jsonl", Question("n", 0.05, LIMIT)
    Record(path, question).add(Decision(0, "undecided", 7.0))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"network": "n", "rad')  # the run was killed here
    found = barrier.decisions(network, anchors[:3], question, Record(path, question))
    assert found[0] == Decision(0, "undecided", 7.0)
    assert all(one.verdict in ("attacked", "certified") for one in found[1:])
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2]
    with pytest.raises(SystemExit, match="another question"):
        Record(path, Question("n", 0.06, LIMIT))


def test_a_row_of_decisions_brackets_the_error() -> None:
    found = [Decision(i, verdict, float(i)) for i, verdict in enumerate(barrier.VERDICTS)]
    text = barrier.error_row(Question("NOR_MLP_B", 0.02, 1.0), found)
    assert "| 4 | 1 | 1 | 1 | 1 | 50.00 to 75.00 | 1.50 | 3.0 | 2.05 |" in text
    assert "| 10.16 to 13.48 | 26.41 |" in text
    assert text.count("|") == len(barrier.ERROR_HEAD) + 1
    unknown = barrier.error_row(Question("other", 0.02, 1.0), found)
    assert unknown.endswith("| - | - | - | - |")
