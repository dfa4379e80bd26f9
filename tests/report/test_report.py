"""Reports: the numbers behind the curves, flat tables, and the page in a real browser."""

import csv
import io
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphprune as gp
from graphprune.attacks.confirm import Witness
from graphprune.cli.app import run
from graphprune.evaluate.archive import Case, Evaluated, of_outcome, read_run
from graphprune.evaluate.at_radius import verdict
from graphprune.evaluate.documents import summary
from graphprune.evaluate.reading import read_document, read_record
from graphprune.evaluate.results import Job
from graphprune.evaluate.run import evaluate
from graphprune.evaluate.settings import Settings
from graphprune.report.curves import curves
from graphprune.report.page import render
from graphprune.report.rows import as_csv, as_markdown, as_parquet, rows
from tests.conftest import MODELS

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "link", "input", "img", "line", "rect", "path", "use", "br"}


def record(index: int, lower: float, upper: float | None, status: str = "ok") -> dict[str, Any]:
    bnd = {"lower": lower, "upper": upper, "status": "interval", "target": 3, "seconds": 1.0}
    return {
        "index": index, "label": index % 10, "predicted": index % 10, "status": status,
        "d_adv": {"value": upper, "target": 3, "seconds": 0.5},
        "d_rob": {"value": 0.5 * lower, "method": "crown", "seconds": 0.2,
                  "layers": [{"neurons": 9, "active": 3, "inactive": 4, "unstable": 2}]},
        "d_bnd": bnd,
        "estimates": [{"spec": "auto", "metric": "d_bnd", "value": lower, "lower": None,
                       "upper": None, "neurons_left": 5, "layers_left": [5], "seconds": 0.1}],
    }  # fmt: skip


def network(count: int, name: str = "net<b>") -> Evaluated:
    rng = np.random.default_rng(0)
    records, cases = [], []
    for i in range(count):
        lower = float(rng.uniform(0.01, 0.1))
        x = rng.uniform(0, 1, (1, 28, 28)).astype(np.float32)
        other = (x + 0.01).astype(np.float32)
        points = [(m, Witness(other, 1.2 * lower, 3)) for m in ("d_adv", "d_bnd")]
        records.append(record(i, lower, 1.2 * lower))
        cases.append(Case(read_record(records[-1]), x, points))
    document = {
        "model": {"path": f"/m/{name}.onnx", "sha256": "0" * 64, "neurons": 99, "parameters": 7},
        "settings": Settings(estimates=("auto",)).to_json(),
        "anchors": records,
        "summary": summary(records, 1.0),
    }
    return Evaluated(read_document(document), tuple(cases))


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluated]:
    """A run directory, and what the run itself said."""
    folder = tmp_path_factory.mktemp("run")
    toy = gp.load(MODELS / "toy-2d.onnx")
    job = Job(toy, gp.load_anchors(MODELS / "toy-2d-anchors.npz", toy)[:4])
    settings = Settings(metrics=("adv", "rob"), effort="fast", domain=gp.Domain(-np.inf, np.inf))
    (found,) = of_outcome([job], evaluate([job], settings, run_dir=folder))
    return folder, found


@pytest.fixture
def folder(direct: tuple[Path, Evaluated]) -> Path:
    return direct[0]


def test_the_archive_of_a_run_says_what_the_run_said(direct: tuple[Path, Evaluated]) -> None:
    (kept,), said = read_run(direct[0]), direct[1]
    assert [c.record for c in kept.cases] == [c.record for c in said.cases]
    assert kept.document.settings == said.document.settings
    for one, two in zip(kept.cases, said.cases, strict=True):
        assert np.array_equal(one.x, two.x)
        assert [m for m, _ in one.points] == [m for m, _ in two.points]
        assert one.record.rob is not None
        for layer in one.record.rob.layers:
            assert layer.neurons == layer.active + layer.inactive + layer.unstable


def test_curves_count_anchors_at_every_radius() -> None:
    records = [record(0, 0.1, 0.2), record(1, 0.05, 0.05), record(2, 0.3, None)]
    records.append({"index": 3, "label": 0, "status": "misclassified", "estimates": []})
    read = [read_record(r) for r in records]
    line = curves(read)
    for radius in (0.0, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4):
        place = np.searchsorted(line.radii, radius, side="right") - 1
        ends = [r.ends for r in read]
        assert line.certified[place] == np.mean([low > radius for low, _ in ends])
        assert line.attacked[place] == np.mean([high > radius for _, high in ends])
    assert np.all(line.certified <= line.attacked)


def test_a_lower_end_by_numerics_alone_is_not_proven() -> None:
    """Curves and the verdict at a radius have one rule."""
    found = record(0, 0.1, 0.2)
    found["d_rob"]["value"] = 0.05
    assert read_record(found).ends == (0.1, 0.2)
    found["d_bnd"]["certified"] = False
    low, high = read_record(found).ends
    assert (low, high) == (0.05, 0.2)
    assert verdict(found, 0.07) == "undecided"
    line = curves([read_record(found)])
    assert line.certified[np.searchsorted(line.radii, 0.07, side="right") - 1] == 0.0


def test_the_page_tells_layer_by_layer_what_was_replaced() -> None:
    page = render([network(1)])
    assert '<th scope="col">replaced, d_bnd by auto</th>' in page
    cells = "".join(f"<td>{n}</td>" for n in (9, 3, 4, 2, 9 - 5))
    assert f'<th scope="row">1</th>{cells}</tr>' in page


def test_flat_tables_hold_every_number() -> None:
    found = [network(3)]
    table = rows(found)
    text = list(csv.DictReader(io.StringIO(as_csv(found).decode())))
    assert [float(r["d_bnd_lower"]) for r in text] == [r["d_bnd_lower"] for r in table]
    assert as_markdown(found).decode().count("\n") == 2 + 3
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(io.BytesIO(as_parquet(found))).to_pylist() == table


class Balanced(HTMLParser):
    """Raises where elements are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None: ...

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_stays_small() -> None:
    page = render([network(100)])
    assert len(page) < 5_000_000
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    assert "net<b>" not in page, "text from files is escaped"
    for outside in ('src="http', 'href="http', "@import", "url(http", "fetch("):
        assert outside not in page


def test_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(folder), "-o", str(tmp_path / "r.html")]) == 0
    assert "toy-2d" in (tmp_path / "r.html").read_text()
    assert run(["report", str(folder), "--format", "csv"]) == 0
    assert "d_adv" in capsys.readouterr().out
    for name, magic in (("a.svg", b"<?xml"), ("a.png", b"\x89PNG")):
        assert run(["plot", str(folder), "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().startswith(magic)
    for arguments, said in (
        (["report", str(tmp_path), "-o", "x.html"], "holds no run"),
        (["report", str(folder)], "name a file with -o"),
        (["report", str(folder), "--format", "cvs"], "did you mean 'csv'"),
        (["plot", str(folder), "-o", str(tmp_path / "a.gif")], "svg, png, pdf"),
    ):
        assert run(arguments) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "run.sqlite").write_bytes(b"SQLite format 3\0 no")
    assert run(["report", str(tmp_path), "-o", "x.html"]) == 2
    assert "not a readable run" in capsys.readouterr().err


@pytest.fixture
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as p:
        found = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield found
        found.close()


def test_in_a_browser(browser: Any, tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text(render([network(12), network(5, "second")]))
    page = browser.new_page(viewport={"width": 390, "height": 800})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((tmp_path / "r.html").as_uri())
    table = page.locator("#n0 table.anchors")

    def column(place: int) -> list[str]:
        texts: list[str] = table.locator(
            f"tbody tr:visible td:nth-child({place})"
        ).all_inner_texts()
        return texts

    # By keyboard: reach the heading's button, press it once and twice.
    button = table.get_by_role("button", name="d_rob")
    button.focus()
    page.keyboard.press("Enter")
    assert column(4) == sorted(column(4), key=float)
    assert table.locator("th[aria-sort=ascending]").inner_text().startswith("d_rob")
    page.keyboard.press("Enter")
    assert column(4) == sorted(column(4), key=float, reverse=True)
    page.locator("#n0 .class").select_option("3")
    assert column(1) == ["3"]
    assert page.locator("#n0 .count").inner_text() == "1 of 12 anchors"
    page.locator("#n0 .class").select_option("")
    page.locator("#n0 .find").fill("nothing like this")
    assert column(1) == []
    page.locator("#n0 .find").fill("")
    assert len(column(1)) == 12
    # A link opens the anchor's details.
    table.get_by_role("link", name="7").click()
    assert page.locator("#n0-a7").get_attribute("open") is not None
    # On a phone the page itself never scrolls sideways.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert said == []
