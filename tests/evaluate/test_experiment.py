"""The experiments: what is measured, what is kept, and what it is compared with."""

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.cli.app import run as command
from graphprune.evaluate import experiment
from graphprune.evaluate.estimates import estimated
from graphprune.evaluate.experiment import (
    RECIPES,
    CurvePoint,
    Experiment,
    Measured,
    Panel,
    families,
    in_order,
    panel_of,
    pareto,
    read_experiment,
    summarise,
)
from graphprune.evaluate.reading import read_record
from graphprune.evaluate.settings import Metric
from graphprune.region import Domain, norm_of
from tests.conftest import MODELS
from tests.measurements import measured_on, on_three_domains, plan_of, record_of

TOY = Panel("toy-2d", Metric.BND, "toy-2d-anchors.npz")


def test_a_panel_is_measured_once_and_more_anchors_go_on(
    measured: tuple[Path, list[Measured]], tmp_path: Path
) -> None:
    shared, (panel,) = measured
    out = shutil.copytree(shared, tmp_path / "more")
    assert panel.anchors == 2
    assert panel.exact == 2
    made = Experiment(out, MODELS, anchors=3, time_limit=60.0, milp=1)
    list(made.run(TOY, "best", Domain()))
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


def test_errors_are_relative_and_a_collapsed_boundary_counts_at_the_limit() -> None:
    plan = plan_of("paper", None)
    values = [(0.1, 0.11, 0.12), (0.05, 0.05, None), (0.1, 0.1, 0.1)]
    found = summarise(plan, [read_record(record_of(i, *v)) for i, v in enumerate(values)])
    assert found is not None
    (point,) = found.points
    assert (found.anchors, point.anchors) == (3, 3)
    assert point.error == pytest.approx((0.2 + 9.0) / 3)
    assert (point.collapsed, point.stopped) == (1, 0)
    assert found.attack.error == pytest.approx(0.1 / 3)
    assert found.seconds == 4.0  # the attack counts
    assert point.share == 0.25


@given(st.lists(st.tuples(st.floats(0.1, 9), st.floats(0, 9)), min_size=1))
def test_the_pareto_front_beats_everything(pairs: list[tuple[float, float]]) -> None:
    points = [CurvePoint("", str(i), "", 1, e, e, s, s, 0, 0, 0) for i, (s, e) in enumerate(pairs)]
    front = pareto(points)
    for p in points:
        assert any(q.seconds <= p.seconds and q.error <= p.error for q in front)
    for p in front:
        assert not any(q.seconds <= p.seconds and q.error < p.error for q in points)


def test_settings_of_the_recipes_reach_the_passes() -> None:
    toy = gp.load(MODELS / "toy-2d.onnx")
    curves = families(toy, RECIPES["paper"], Metric.BND, 0.1)
    assert [c.title for c in curves] == ["Algorithm 1 (constant)", "Algorithm 2 (secant)"]
    assert curves[0].points[0] == ("0.5", "prune-constant{gamma=0.5 step=0.1 bounds=fastlin-ibp}")
    for recipe in RECIPES.values():
        for metric in (Metric.ROB, Metric.BND):
            for curve in families(toy, recipe, metric, 0.05):
                for _, spec in curve.points:
                    assert metric in estimated(spec)


def test_the_command_refuses_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path)
    assert command(["experiment", "run", "--out", out, "--only", "mnist-z"]) == 2
    assert "unknown value 'mnist-z'" in capsys.readouterr().err
    assert command(["experiment", "plot", "--out", out]) == 2
    assert "no finished measurement" in capsys.readouterr().err


def test_another_network_of_the_same_name_is_refused(
    measured: tuple[Path, list[Measured]], tmp_path: Path
) -> None:
    out, models = shutil.copytree(measured[0], tmp_path / "out"), tmp_path / "models"
    models.mkdir()
    shutil.copy(MODELS / "toy-2d-anchors.npz", models)
    onnx.save(gp.to_proto(gp.load(MODELS / "toy-2d.onnx")), models / "toy-2d.onnx")  # another file
    made = Experiment(out, models, anchors=3, time_limit=60.0, milp=1)
    with pytest.raises(gp.GraphpruneError, match=r"measured on another .*toy-2d\.onnx"):
        list(made.run(TOY, "best", Domain()))


def test_a_quiet_run_prints_no_table(
    measured: tuple[Path, list[Measured]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(experiment, "PANELS", (TOY,))
    out = shutil.copytree(measured[0], tmp_path / "again")
    arguments = ["experiment", "run", "--out", str(out), "--models", str(MODELS), "--recipe", "best",
                 "--limit", "2", "--milp", "1"]  # fmt: skip
    assert command([*arguments, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert command(arguments) == 0
    printed = capsys.readouterr()
    assert "best: toy-2d, d_bnd" in printed.err
    assert "Algorithm 2 (secant)" in printed.out


def test_the_reference_is_the_closest_point_that_anything_confirmed() -> None:
    plan = plan_of("best", [0.0, 1.0])
    record = record_of(0, 0.2, 0.25, 0.16)
    record["estimates"][0]["upper"] = 0.16
    record["d_bnd"] |= {"lower": 0.1, "status": "interval"}
    found = summarise(plan, [read_record(record)])
    assert found is not None
    assert found.points[0].error == 0.0
    assert found.attack.error == pytest.approx(0.09 / 0.16)
    # An exact distance is what it is.
    record["d_bnd"] |= {"lower": 0.2, "status": "exact"}
    found = summarise(plan, [read_record(record)])
    assert found is not None
    assert found.points[0].error == pytest.approx(0.2)


def test_a_metric_without_a_value_when_its_time_is_over_counts_at_what_is_known() -> None:
    stopped = record_of(0, 0.1, 0.12, None)
    stopped["estimates"][0]["status"] = "interval"
    for metric, error in (("bnd", 0.2), ("rob", 1.0)):
        plan = plan_of("best", [0.0, 1.0]) | {"metric": metric}
        record = stopped | {"d_rob": {"value": 0.1, "cpu_seconds": 1.0}}
        found = summarise(plan, [read_record(record)])
        assert found is not None
        (point,) = found.points
        assert point.error == pytest.approx(error)
        assert (point.collapsed, point.stopped) == (0, 1)


def test_a_certificate_that_ran_out_of_time_is_no_exact_reference() -> None:
    plan = plan_of("best", [0.0, 1.0]) | {"metric": "rob"}
    rob = {"value": 0.1, "cpu_seconds": 1.0}
    records = [
        record_of(i, 0.1, 0.12, 0.1) | {"d_rob": rob | {"stopped": stopped}}
        for i, stopped in enumerate((False, True))
    ]
    found = summarise(plan, [read_record(record) for record in records])
    assert found is not None
    assert (found.anchors, found.exact) == (2, 1)


def test_a_substitute_certified_everywhere_counts_at_the_search_limit() -> None:
    plan = plan_of("paper", None) | {"metric": "rob"}
    plan["settings"]["radius"] = None
    record = record_of(0, 0.1, 0.12, 1000.0) | {"d_rob": {"value": 0.1, "cpu_seconds": 1.0}}
    record["estimates"][0]["status"] = "collapsed"
    found = summarise(plan, [read_record(record)])
    assert found is not None
    (point,) = found.points
    assert point.error == pytest.approx(9.0)
    assert point.collapsed == 1


def test_domains_keep_apart() -> None:
    assert [p.domain for p in in_order(on_three_domains())] == ["-1,1", "0,1", "none"]
    assert measured_on([0.0, None], 0.1).domain == "0,inf"


def test_norms_keep_apart(tmp_path: Path) -> None:
    made = [Experiment(tmp_path, MODELS, norm=norm_of(n)) for n in ("linf", "l2", "l1")]
    assert len({one.folder(TOY, "best", Domain()) for one in made}) == 3
    plan = plan_of("best", [0.0, 1.0])
    plan["settings"] |= {"norm": "l2", "radius": 4.0}
    assert panel_of(plan)["domain"] == "0,1 l2"


def test_anchors_that_changed_their_part_count_once(tmp_path: Path) -> None:
    for milp in (0, 1):
        made = Experiment(tmp_path, MODELS, anchors=2, time_limit=60.0, milp=milp)
        list(made.run(TOY, "best", Domain()))
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
    # Neither does one that would add to one part only.
    both = Experiment(tmp_path, MODELS, anchors=2, time_limit=30.0, milp=0)
    with pytest.raises(gp.GraphpruneError, match="other settings"):
        list(both.run(TOY, "best", Domain()))
    assert plan.read_bytes() == before
    # To start again sets both parts aside.
    list(replace(other, anchors=1, new=True).run(TOY, "best", Domain()))
    (panel,) = read_experiment(tmp_path)
    assert panel.anchors == 1
    assert len(list(tmp_path.glob("*/*/*/run-*.sqlite"))) == 2
