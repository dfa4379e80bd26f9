"""Verdicts at one radius: what counts as certified, what as attacked, and of how many."""

from typing import Any

import pytest

from graphprune.evaluate.at_radius import accuracy, accuracy_text, verdict


def record(status: str = "ok", **metrics: Any) -> dict[str, Any]:
    return {"status": status, **metrics}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (record(d_rob={"value": 0.1}), "certified"),
        (record(d_rob={"value": 0.0999}), "undecided"),
        (record(d_rob={"value": 0.05, "complete": True}), "certified"),
        (record(d_adv={"value": 0.1}), "attacked"),
        (record(d_adv={"value": 0.1001}), "undecided"),
        (record(d_adv={"value": None}), "undecided"),
        (record(d_bnd={"lower": 0.05, "upper": None, "status": "robust"}), "certified"),
        (record(d_bnd={"lower": 0.1, "upper": 0.2, "status": "interval"}), "certified"),
        (record(d_bnd={"lower": 0.01, "upper": 0.2, "status": "interval"}), "undecided"),
        (record(d_bnd={"lower": 0.01, "upper": 0.02, "status": "exact"}), "attacked"),
        # By a solver's numerics alone nothing is certified.
        (
            record(d_bnd={"lower": 0.1, "upper": None, "status": "robust", "certified": False}),
            "undecided",
        ),
        (record("misclassified", d_rob={"value": 0.0}), "misclassified"),
        (record("error"), "undecided"),
    ],
)
def test_an_anchor_is_certified_attacked_or_neither(found: dict[str, Any], said: str) -> None:
    assert verdict(found, 0.1) == said


def test_accuracies_are_of_all_anchors() -> None:
    verdicts = ["certified"] * 5 + ["attacked"] * 2 + ["undecided"] * 2 + ["misclassified"]
    records = [record(at_radius=one) for one in verdicts]
    found = accuracy(records, 0.1, ("adv", "rob"))
    assert found["certified_accuracy"] == 0.5
    assert found["attacked_accuracy"] == 0.7
    assert found["undecided_accuracy"] == 0.2
    said = accuracy_text(found)
    assert said.startswith("at radius 0.1: 5 certified, 2 attacked, 2 undecided, 1 misclassified;")
    assert "certified accuracy 50.0 %, attacked accuracy 70.0 %" in said


@pytest.mark.parametrize(("metric", "other"), [("adv", "certified"), ("rob", "attacked")])
def test_nothing_is_said_of_what_was_not_asked(metric: str, other: str) -> None:
    found = accuracy([record(at_radius="undecided")], 0.1, (metric,))
    assert found[f"{other}_accuracy"] is None
    assert other not in accuracy_text(found)


def test_nothing_is_certified_by_a_value_that_is_not_there() -> None:
    for radius in (0.0, -1.0):
        assert verdict(record("error"), radius) == "undecided"
        assert verdict(record(d_rob={"value": None}), radius) == "undecided"
