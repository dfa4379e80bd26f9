"""The experiments: what is measured, what is kept, what the figures show."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.cli.app import run as command
from graphprune.evaluate.experiment import (
    RECIPES,
    Experiment,
    Measured,
    Panel,
    Point,
    families,
    in_order,
    pareto,
    read_experiment,
    summarise,
)
from graphprune.ir import Domain
from graphprune.report.figures import (
    regions_figure,
    replacements_figure,
    runtime_figure,
    write_figures,
)
from graphprune.report.numbers import (
    experiment_table,
    markdown_tables,
    read_panels,
    write_numbers,
)
from tests.conftest import MODELS

TOY = Panel("toy-2d", "bnd", "toy-2d-anchors.npz")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Measured]]:
    out = tmp_path_factory.mktemp("experiment")
    experiment = Experiment(out, MODELS, anchors=2, time_limit=60.0, milp=1)
    for outcome in experiment.run(TOY, "best", Domain()):
        assert not outcome.interrupted
    return out, read_experiment(out)


def test_a_panel_is_measured_once_and_more_anchors_go_on(
    measured: tuple[Path, list[Measured]],
) -> None:
    out, (panel,) = measured
    assert panel.anchors == 2
    assert panel.exact == 2
    experiment = Experiment(out, MODELS, anchors=3, time_limit=60.0, milp=1)
    list(experiment.run(TOY, "best", Domain()))
    (again,) = read_experiment(out)
    assert again.anchors == 3
    # Seconds too: nothing was measured again.
    kept = [r for r in again.rows if r["anchor"] < 2]
    assert kept == [r for r in panel.rows if r["anchor"] < 2]


def test_every_published_setting_is_a_point(measured: tuple[Path, list[Measured]]) -> None:
    _, (panel, *_) = measured
    labels = {(p.curve, p.label) for p in panel.points}
    for gamma in ("0.5", "0.75", "0.9", "0.95"):
        assert ("Algorithm 1 (constant)", gamma) in labels
    for layers in ("1", "2", "3"):
        assert ("Algorithm 2 (secant)", layers) in labels
    assert ("plain MILP", "milp") in labels
    (milp,) = (p for p in panel.points if p.curve == "plain MILP")
    assert milp.anchors == 1
    assert milp.error < 1e-3  # SCIP alone solves the toy
    linear = next(p for p in panel.points if p.label == "3")
    assert linear.neurons_left == 0


def test_files_hold_the_numbers(measured: tuple[Path, list[Measured]], tmp_path: Path) -> None:
    _, panels = measured
    toy = gp.load(MODELS / "toy-2d.onnx")
    anchor = gp.load_anchors(MODELS / "toy-2d-anchors.npz", toy)[0]
    files = write_figures(panels, (toy, anchor), tmp_path, ["svg"])
    names = [f.name for f in files]
    assert names == ["figure-1.svg", "figure-2.svg", "figure-3-best-0-1.svg"]
    text = (tmp_path / "figure-3-best-0-1.svg").read_text()
    for shown in ("toy-2d, d_bnd", "0.75", "25 %", "relative error", "re-anchored"):
        assert shown in text
    assert "distance" in (tmp_path / "figure-1.svg").read_text()
    table, page, whole = write_numbers(panels, tmp_path)
    assert page.name == "results.md"
    text = page.read_text()
    assert "|  | `toy-2d` d_bnd |" in text
    assert "| plain MILP `milp` | " in text
    assert "on 1 |" in text
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == sum(len(p.rows) for p in panels)
    for row in rows:
        gap = abs(float(row["value"]) - float(row["reference"])) / float(row["reference"])
        assert float(row["error"]) == pytest.approx(gap)
    document = json.loads(whole.read_text())
    assert document["schema"] == "graphprune/1"
    assert document["panels"][0]["points"][0]["label"] == "0.5"
    assert experiment_table(panels[0]).row_count == 1 + len(panels[0].points)


def test_published_numbers_are_read_again_beside_new_ones(
    measured: tuple[Path, list[Measured]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = measured
    (new,) = read_experiment(out)
    published = tmp_path / "published"
    published.mkdir()
    # The same panel with other numbers, and one that the experiment lacks.
    old = replace(new, seconds=9.0)
    other = replace(
        new, plan={**new.plan, "recipe": "other"}, seconds=7.0,
        rows=tuple({**row, "recipe": "other"} for row in new.rows),
    )  # fmt: skip
    write_numbers([old, other], published)
    assert list(map(asdict, read_panels([published]))) == [asdict(old), asdict(other)]
    assert list(map(asdict, read_panels([out, published]))) == [asdict(new), asdict(other)]
    for name in ("results.csv", "results.json", "results.md"):
        write_numbers([new], tmp_path)
        first = (tmp_path / name).read_bytes()
        write_numbers(read_panels([tmp_path]), tmp_path)
        assert (tmp_path / name).read_bytes() == first
    models = str(MODELS)
    arguments = ["--out", str(published), "--models", models, "--to", str(tmp_path / "drawn")]
    assert command(["experiment", "plot", *arguments]) == 0
    assert (tmp_path / "drawn" / "figure-3-other-0-1.svg").exists()
    (published / "results.csv").unlink()
    capsys.readouterr()
    assert command(["experiment", "plot", *arguments]) == 2
    assert "are not what 'graphprune experiment plot' writes" in capsys.readouterr().err


def test_figures_are_drawn_without_an_experiment() -> None:
    toy = gp.load(MODELS / "toy-2d.onnx")
    anchor = gp.load_anchors(MODELS / "toy-2d-anchors.npz", toy)[1]
    assert len(regions_figure(toy, anchor).axes) == 2 * 4
    assert len(replacements_figure().axes) == 3


def _record(index: int, exact: float, attack: float, value: float | None) -> dict[str, Any]:
    estimate = {
        "spec": "e", "metric": "d_bnd", "value": value, "seconds": 9.0, "cpu_seconds": 0.0, "attacked": True,
        "prune_seconds": 0.5,
        "neurons_left": 7, "status": "collapsed" if value is None else "exact",
        "capped": value is None, "lower": None, "upper": None,
    }  # fmt: skip
    return {
        "index": index, "status": "ok",
        "d_adv": {"value": attack, "cpu_seconds": 1.0},
        "d_bnd": {"lower": exact, "upper": exact, "status": "exact", "cpu_seconds": 3.0},
        "estimates": [estimate],
    }  # fmt: skip


def test_errors_are_relative_and_a_collapsed_boundary_counts_at_the_limit() -> None:
    plan: dict[str, Any] = {
        "network": "n", "metric": "bnd", "recipe": "paper",
        "settings": {"radius": 0.5, "domain": None},
        "curves": [{"title": "c", "points": [["1", "e"]]}],
    }  # fmt: skip
    # The third one ran out of time before it had a value.
    values = [(0.1, 0.11, 0.12), (0.05, 0.05, None), (0.1, 0.1, 0.0)]
    found = summarise(plan, [_record(i, *v) for i, v in enumerate(values)])
    assert found is not None
    (point,) = found.points
    assert (found.anchors, point.anchors) == (3, 2)
    assert point.error == pytest.approx((0.2 + 9.0) / 2)
    assert point.collapsed == 1
    assert found.attack.error == pytest.approx(0.1 / 3)
    assert found.seconds == 4.0  # the attack counts
    assert point.share == 0.25
    assert len(runtime_figure([found]).axes) == 1
    page = markdown_tables([found])
    assert "## `paper`, no domain" in page
    assert "| anchors | 3 |" in page
    assert "| attack | **0.033 / 25 %** |" in page
    assert "| c `1` | 4.6 / 25 %, 1 gone, on 2 |" in page


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 9)), min_size=1))
def test_the_pareto_front_beats_everything(pairs: list[tuple[float, float]]) -> None:
    points = [Point("", str(i), "", 1, e, e, s, s, 0, 0, 0) for i, (s, e) in enumerate(pairs)]
    front = pareto(points)
    for p in points:
        assert any(q.seconds <= p.seconds and q.error <= p.error for q in front)
    for p in front:
        assert not any(q.seconds <= p.seconds and q.error < p.error for q in points)


def test_settings_of_the_recipes_reach_the_passes() -> None:
    toy = gp.load(MODELS / "toy-2d.onnx")
    curves = families(toy, RECIPES["paper"], "bnd", 0.1)
    assert [c.title for c in curves] == ["Algorithm 1 (constant)", "Algorithm 2 (secant)"]
    assert curves[0].points[0] == ("0.5", "prune-constant{gamma=0.5 step=0.1 bounds=fastlin-ibp}")
    for recipe in RECIPES.values():
        for metric in ("rob", "bnd"):
            for curve in families(toy, recipe, metric, 0.05):
                for _, spec in curve.points:
                    from graphprune.evaluate.estimates import estimated

                    assert metric in estimated(spec)


def test_the_command_refuses_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path)
    assert command(["experiment", "run", "--out", out, "--only", "mnist-z"]) == 2
    assert "unknown value 'mnist-z'" in capsys.readouterr().err
    assert command(["experiment", "plot", "--out", out]) == 2
    assert "no finished measurement" in capsys.readouterr().err


def test_the_reference_is_the_closest_point_that_anything_confirmed() -> None:
    plan: dict[str, Any] = {
        "network": "n", "metric": "bnd", "recipe": "best",
        "settings": {"radius": 0.5, "domain": [0.0, 1.0]},
        "curves": [{"title": "c", "points": [["1", "e"]]}],
    }  # fmt: skip
    record = _record(0, 0.2, 0.25, 0.16)
    record["estimates"][0]["upper"] = 0.16
    record["d_bnd"] |= {"lower": 0.1, "status": "interval"}
    found = summarise(plan, [record])
    assert found is not None
    assert found.points[0].error == 0.0
    assert found.attack.error == pytest.approx(0.09 / 0.16)
    # An exact distance is what it is.
    record["d_bnd"] |= {"lower": 0.2, "status": "exact"}
    found = summarise(plan, [record])
    assert found is not None
    assert found.points[0].error == pytest.approx(0.2)


def test_a_metric_without_a_value_when_its_time_is_over_is_left_out() -> None:
    plan: dict[str, Any] = {
        "network": "n", "metric": "bnd", "recipe": "best",
        "settings": {"radius": 0.5, "domain": [0.0, 1.0]},
        "curves": [{"title": "c", "points": [["1", "e"]]}],
    }  # fmt: skip
    stopped = _record(0, 0.1, 0.1, None)
    stopped["estimates"][0]["status"] = "interval"
    found = summarise(plan, [stopped, _record(1, 0.1, 0.1, 0.1)])
    assert found is not None
    assert [row["anchor"] for row in found.rows] == [1]


def test_domains_keep_apart() -> None:
    plan: dict[str, Any] = {
        "network": "n", "metric": "bnd", "recipe": "best", "settings": {"radius": 0.5},
        "curves": [{"title": "c", "points": [["1", "e"]]}],
    }  # fmt: skip
    panels = []
    for box in ([0.0, 1.0], [-1.0, 1.0], None):
        one = plan | {"settings": {"radius": 0.5, "domain": box}}
        found = summarise(one, [_record(0, 0.1, 0.1, 0.1)])
        assert found is not None
        panels.append(found)
    assert [p.domain for p in in_order(panels)] == ["-1,1", "0,1", "none"]
    page = markdown_tables(panels)
    for title in ("domain [0, 1]", "domain [-1, 1]", "no domain"):
        assert f"## `best`, {title}" in page


def test_anchors_that_changed_their_part_count_once(tmp_path: Path) -> None:
    for milp in (0, 1):
        experiment = Experiment(tmp_path, MODELS, anchors=2, time_limit=60.0, milp=milp)
        list(experiment.run(TOY, "best", Domain()))
    (panel,) = read_experiment(tmp_path)
    assert panel.anchors == 2
    assert {p.anchors for p in panel.points if p.curve != "plain MILP"} == {2}
    assert {p.anchors for p in panel.points if p.curve == "plain MILP"} == {1}
    # A command that is refused leaves the plan as it was.
    (plan,) = tmp_path.glob("*/*/panel.json")
    before = plan.read_bytes()
    other = Experiment(tmp_path, MODELS, anchors=2, time_limit=60.0, milp=1, radius=0.25)
    with pytest.raises(gp.GraphpruneError, match="other settings"):
        list(other.run(TOY, "best", Domain()))
    assert plan.read_bytes() == before
