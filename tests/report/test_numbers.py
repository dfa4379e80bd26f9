"""The numbers of an experiment: what the files and pages say, and reading them again."""

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from graphprune.cli.app import run as command
from graphprune.evaluate.experiment import Measured, summarise
from graphprune.evaluate.reading import read_record
from graphprune.report.numbers import experiment_table, markdown_tables, read_panels, write_numbers
from tests.conftest import MODELS
from tests.measurements import on_three_domains, plan_of, record_of


def test_files_hold_the_numbers(measured: tuple[Path, list[Measured]], tmp_path: Path) -> None:
    _, panels = measured
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
    out, (new,) = measured
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


def test_a_page_says_what_is_gone_and_on_how_many_anchors() -> None:
    values = [(0.1, 0.11, 0.12), (0.05, 0.05, None), (0.1, 0.1, 0.1)]
    records = [record_of(i, *v) for i, v in enumerate(values)]
    records[2]["estimates"][0]["status"] = "error"
    found = summarise(plan_of("paper", None), [read_record(record) for record in records])
    assert found is not None
    page = markdown_tables([found])
    assert "## `paper`, no domain" in page
    assert "| anchors | 3 |" in page
    assert "| attack | **0.033 / 25 %** |" in page
    assert "| c `1` | 4.6 / 25 %, 1 gone, on 2 |" in page


def test_domains_have_tables_of_their_own() -> None:
    page = markdown_tables(on_three_domains())
    for title in ("domain [0, 1]", "domain [-1, 1]", "no domain"):
        assert f"## `best`, {title}" in page
