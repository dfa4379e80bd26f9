"""The view over many anchors: by class, closest and farthest, two networks side by side."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import graphprune as gp
from graphprune.cli.app import run
from graphprune.evaluate.archive import Evaluated, of_outcome
from graphprune.evaluate.results import Job
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.settings import Settings
from graphprune.report.names import told_apart
from graphprune.report.overview import by_class, duel, extremes
from graphprune.report.page import render
from graphprune.report.rows import as_csv, as_parquet
from graphprune.runtime.original import run_original
from tests.conftest import MODELS
from tests.report.test_report import network


def scaled(found: Evaluated, factor: float) -> Evaluated:
    """The same anchors with all distances longer."""
    records = []
    for case in found.cases:
        adv, rob, bnd = case.record.adv, case.record.rob, case.record.bnd
        assert adv is not None
        assert adv.value is not None
        assert rob is not None
        assert rob.value is not None
        assert bnd is not None
        assert bnd.upper is not None
        records.append(
            replace(
                case.record,
                adv=replace(adv, value=factor * adv.value),
                rob=replace(rob, value=factor * rob.value),
                bnd=replace(bnd, lower=factor * bnd.lower, upper=factor * bnd.upper),
            )
        )
    cases = tuple(replace(c, record=r) for c, r in zip(found.cases, records, strict=True))
    document = replace(found.document, anchors=tuple(records))
    return replace(found, document=document, cases=cases)


def test_rows_by_class_count_every_anchor_once() -> None:
    found = network(25)
    table = by_class(found.document.anchors)
    assert table.classes == (3,)
    assert sum(row.anchors for row in table.rows) == 25
    assert sum(sum(row.nearest) for row in table.rows) == 25
    first = [r for r in found.document.anchors if r.label == 0]
    assert table.rows[0].lower == pytest.approx(np.mean([r.ends[0] for r in first]))
    assert table.rows[0].upper == pytest.approx(np.mean([r.ends[1] for r in first]))


def test_the_closest_and_the_farthest() -> None:
    found = network(30)
    near, far = extremes(found.cases)
    uppers = sorted(case.record.ends[1] for case in found.cases)
    assert [case.record.ends[1] for case in near] == uppers[:10]
    assert [case.record.ends[1] for case in far] == uppers[::-1][:10]
    assert [len(part) for part in extremes(found.cases[:3])] == [1, 1]


def test_two_networks_are_compared_anchor_by_anchor() -> None:
    one = network(8)
    better, alike = scaled(one, 2.0), scaled(one, 1.01)
    found = duel(one, better)
    assert found is not None
    assert (found.anchors, found.first, found.second, found.open) == (8, 0, 8, 0)
    close = duel(one, alike)
    assert close is not None
    assert (close.first, close.second, close.open) == (0, 0, 8)
    moved = tuple(replace(case, x=case.x + 0.01) for case in one.cases)
    assert duel(one, replace(one, cases=moved)) is None
    page = render([one, replace(better, given="other")])
    assert "is proven more robust on 0,\nother on 8; on 0 their intervals overlap" in page


def test_the_page_has_estimates_classes_and_pictures_of_the_ends() -> None:
    page = render([network(6)])
    assert "d_bnd by auto</button>" in page
    assert page.count("<h4>The ") == 2
    assert "blue -0.0100, grey 0, orange +0.0100" in page
    assert 'aria-label="distances of ' in page
    assert "begun with" in page


def test_margins_at_an_anchor_are_shown_closest_first(tiny: gp.Network) -> None:
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", tiny)[0]
    settings = Settings(metrics=("adv",), effort="fast")
    (found,) = of_outcome(job := [Job(tiny, [anchor])], evaluate(job, settings))
    logits = run_original(tiny, anchor.x[None])[0].astype(float)
    assert found.cases[0].record.margins == tuple(logits[anchor.label] - logits)
    closest = int(np.argsort(np.delete(-logits, anchor.label))[0])
    closest += closest >= anchor.label
    margin = logits[anchor.label] - logits[closest]
    rows = render([found]).split('<table class="margins">')[1]
    assert f'<th scope="row">{closest}</th><td>{margin:.3f}</td>' in rows.split("</tr>")[0]


def test_networks_that_repeat_are_told_apart_by_their_runs() -> None:
    one, two = (replace(network(1), run=f"runs/{name}") for name in ("plain", "robust"))
    assert [found.name for found in told_apart([one, two])] == ["plain/net<b>", "robust/net<b>"]
    other = network(1, "else")
    assert [found.name for found in told_apart([one, other])] == ["net<b>", "else"]


def test_empty_parquet_columns_have_types() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    found = network(2)
    bare = [replace(c, record=replace(c.record, adv=None, bnd=None)) for c in found.cases]
    data = as_parquet([replace(found, cases=tuple(bare))])
    types = {field.name: str(field.type) for field in parquet.read_schema(io.BytesIO(data))}
    assert (types["d_adv"], types["d_adv_target"], types["message"]) == (
        "double", "int64", "string",
    )  # fmt: skip
    assert "null" not in types.values()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "-o", "out.pdfx"], "out.pdfx: unknown suffix .pdfx; known: html"),
        (["report", "-o", "/no/out.html"], "/no does not exist"),
        (["plot", "-o", "out.gif"], "out.gif: figures are written as svg, png, pdf"),
        (["plot", "-o", "/no/out.svg"], "/no does not exist"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_read(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, str(tmp_path / "no run")]) == 2
    assert said in capsys.readouterr().err


def test_csv_has_the_names_of_runs() -> None:
    found = told_apart([replace(network(1), run="a"), replace(network(1), run="b")])
    assert as_csv(found).decode().count("a/net<b>") == 1
