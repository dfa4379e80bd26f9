"""The terminal's table: what is proven, what is an estimate, and what the last row means."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from graphprune.evaluate.documents import summary
from graphprune.evaluate.reading import read_document, read_estimate
from graphprune.report.table import advice, results_table


def estimate(spec: str, metric: str, value: float | None, **more: Any) -> dict[str, Any]:
    own = {"spec": spec, "metric": metric, "value": value, "seconds": 0.5, "status": "ok"}
    return own | {"lower": None, "upper": None} | more


def record(index: int, value: float, *estimates: dict[str, Any]) -> dict[str, Any]:
    return {
        "index": index, "label": 1, "predicted": 1, "status": "ok",
        "d_adv": {"value": value, "target": 7, "seconds": 1.5 * (index + 1)},
        "estimates": list(estimates),
    }  # fmt: skip


def shown(
    *records: dict[str, Any], metrics: tuple[str, ...] = ("adv",), path: str = "m.onnx"
) -> str:
    document = {
        "model": {"path": path, "neurons": 5, "parameters": 6},
        "settings": {"metrics": list(metrics)},
        "anchors": list(records),
        "summary": summary(list(records), 100.0),
    }
    console = Console(width=200, file=StringIO())
    with console.capture() as captured:
        console.print(results_table(read_document(document)))
    return captured.get()


def cells(text: str, first: str) -> list[str]:
    (line,) = (x for x in text.splitlines() if x.startswith(f"│ {first:>6} "))
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_last_row_is_the_mean_of_its_columns() -> None:
    text = shown(record(0, 0.1), record(1, 0.3))
    assert cells(text, "0") == ["0", "1", "0.10000", "7", "1.5"]
    assert cells(text, "mean") == ["mean", "", "0.20000", "", "2.2"]
    assert "estimate" not in text


def test_estimates_are_labelled_and_proven_ones_are_intervals() -> None:
    proven = [
        estimate("sound", "d_bnd", upper, lower=lower, upper=upper, status="interval")
        for lower, upper in ((0.1, 0.2), (0.3, 0.4))
    ]
    gone = estimate("half", "d_rob", 1.0, status="collapsed")
    kept = estimate("half", "d_rob", 0.6)
    text = shown(record(0, 0.5, proven[0], gone), record(1, 0.5, proven[1], kept))
    assert cells(text, "0")[4:6] == ["[0.10000, 0.20000]", "collapsed"]
    assert cells(text, "1")[4:6] == ["[0.30000, 0.40000]", "0.60000"]
    assert cells(text, "mean")[4:6] == ["[0.20000, 0.30000]", "0.60000"]
    assert "an estimate, nothing proven" in text


def test_long_names_stay_whole() -> None:
    specs = [f"prune-constant{{gamma={g} step=0.05 bounds=fastlin-ibp}}" for g in range(1, 9)]
    text = shown(record(0, 0.5, *(estimate(spec, "d_bnd", 0.5) for spec in specs)))
    assert "…" not in text


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, "0.25000"),
        ({"status": "exact"}, "0.25000"),
        ({"status": "interval"}, "<= 0.25000"),
        ({"lower": 0.2}, "0.25000"),
        ({"upper": 0.3}, "0.25000"),
        ({"status": "exact", "lower": 0.249, "upper": 0.25}, "0.25000"),
        ({"status": "interval", "lower": 0.2, "upper": 0.25}, "[0.20000, 0.25000]"),
        ({"value": None, "status": "collapsed"}, "collapsed"),
        ({"value": None, "status": "error"}, "error"),
    ],
)
def test_how_an_estimate_is_written(more: dict[str, Any], expected: str) -> None:
    assert read_estimate(estimate("s", "d_bnd", 0.25) | more).text == expected


def test_a_mean_interval_is_one_of_anchors_with_two_ends() -> None:
    def bound(index: int, lower: float, upper: float | None, status: str) -> dict[str, Any]:
        ends = {"lower": lower, "upper": upper, "status": status, "target": None, "seconds": 1.0}
        return {"index": index, "label": 1, "status": "ok", "d_bnd": ends, "estimates": []}

    exact, robust = bound(0, 0.05, 0.05, "exact"), bound(1, 1.0, None, "robust")
    open_one = bound(2, 0.1, 0.25, "interval")
    for records, said in (
        ([exact, robust], "0.05000 (1 of 2)"),
        ([exact, open_one], "[0.07500, 0.15000]"),
        ([robust], "-"),
        # What an anchor that was interrupted has is no result.
        ([exact, open_one | {"interrupted": True}], "0.05000"),
    ):
        assert cells(shown(*records, metrics=("bnd",)), "mean")[2] == said


def test_a_path_is_no_markup() -> None:
    assert "[/old]/m[v2].onnx: 5 neurons" in shown(record(0, 0.1), path="[/old]/m[v2].onnx")


def test_a_certificate_out_of_time_is_shown_as_a_lower_end() -> None:
    proof = {"value": 0.02, "stopped": True, "seconds": 1.0}
    text = shown(record(0, 0.1) | {"d_rob": proof}, metrics=("rob", "adv"))
    assert cells(text, "0")[2] == ">= 0.02000"


def test_ends_that_a_solver_is_trusted_for_have_a_star_and_a_note() -> None:
    def bnd(index: int, status: str, **more: Any) -> dict[str, Any]:
        upper = None if status == "robust" else 0.25
        value = {"lower": 0.25, "upper": upper, "status": status, "seconds": 1.0, **more}
        return record(index, 0.5) | {"d_bnd": value}

    kinds = ("exact", "robust", "interval")
    text = shown(*(bnd(i, kind) for i, kind in enumerate(kinds)), metrics=("bnd",))
    assert "*" not in text
    marked = [bnd(i, kind, certified=False) for i, kind in enumerate(kinds)]
    text = shown(*marked, metrics=("bnd",))
    assert [cells(text, str(i))[2] for i in range(3)] == [
        "0.25000*", ">= 0.25000* (robust)", "[0.25000*, 0.25000]",
    ]  # fmt: skip
    assert "*: rests on a solver's numerics, not certified." in text


def test_the_nearest_class_is_that_of_the_closest_point() -> None:
    """The search may find a closer point than the attack, of another class."""
    ends = {"lower": 0.1, "upper": 0.1, "status": "exact", "target": 4, "seconds": 1.0}
    text = shown(record(0, 0.2) | {"d_bnd": ends}, metrics=("bnd", "adv"))
    assert cells(text, "0")[4] == "4"


def with_interval(lower: float, upper: float, rob: float, seconds: float = 1.0) -> dict[str, Any]:
    bnd = {"lower": lower, "upper": upper, "status": "interval", "seconds": seconds}
    return record(0, upper) | {"d_rob": {"value": rob, "seconds": 1.0}, "d_bnd": bnd}


@pytest.mark.parametrize(
    ("found", "limit", "deep"),
    [
        (with_interval(0.011, 0.03, 0.01), None, True),
        (with_interval(0.011, 0.03, 0.01), 60.0, True),
        (with_interval(0.011, 0.03, 0.01), 1.0, False),  # more time may well do
        (with_interval(0.011, 0.03, 0.01, seconds=20.0), 20.0, True),
        (with_interval(0.02, 0.03, 0.01), None, False),
        (with_interval(0.011, 0.03, 0.01) | {"interrupted": True}, None, False),
        (record(0, 0.1), None, False),
    ],
)
def test_a_search_out_of_its_depth_says_what_to_ask(
    found: dict[str, Any], limit: float | None, deep: bool
) -> None:
    document = {
        "model": {"path": "m.onnx", "neurons": 5, "parameters": 6},
        "settings": {"metrics": ["adv", "rob", "bnd"], "time_limit": limit},
        "anchors": [found],
        "summary": summary([found], 1.0),
    }
    said = advice(read_document(document))
    assert len(said) == deep
    assert all("anchor 0: the exact search is out of its depth" in line for line in said)


def test_nothing_is_advised_where_a_gap_was_reached() -> None:
    found = with_interval(0.011, 0.03, 0.01)
    document = {
        "model": {"path": "m.onnx", "neurons": 5, "parameters": 6},
        "settings": {"metrics": ["adv", "rob", "bnd"], "gap": 1.0},
        "anchors": [found],
        "summary": summary([found], 1.0),
    }
    assert not advice(read_document(document))


def test_rows_that_ctrl_c_stopped_are_marked() -> None:
    text = shown(record(0, 0.1), record(1, 0.3) | {"interrupted": True})
    assert cells(text, "0")[-1] == "1.5"
    assert cells(text, "1")[-1] == "3.0 (stopped)"
