"""The numbers of an experiment: tables for the terminal and pages, CSV and JSON for others.

The written file can be read again: published numbers are drawn beside new ones.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from graphprune.errors import GraphpruneError
from graphprune.evaluate.documents import SCHEMA
from graphprune.evaluate.experiment import (
    PLAN,
    CurvePoint,
    Measured,
    in_order,
    panel_of,
    pareto,
    read_experiment,
)
from graphprune.ir.export import write_bytes

MEANS = "results.json"
ROWS = "results.csv"


def experiment_table(panel: Measured) -> Table:
    """Every point of a panel; those that nothing beats in error and runtime are marked."""
    table = Table(
        title=f"{panel.title}, recipe {panel.plan['recipe']}, {_where(panel)}: {panel.anchors}"
        f" anchors, {panel.exact} exact, {panel.seconds:.2f} s on the full network",
        title_justify="left",
    )
    for name in (
        "what", "", "error", "median", "seconds", "of full", "neurons", "collapsed", "stopped", "",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name == "what" else "right")
    everything = (panel.attack, *panel.points)
    front = pareto(everything)
    for point in everything:
        table.add_row(
            point.curve, point.label if point.label != point.curve else "", f"{point.error:.4f}",
            f"{point.median_error:.4f}", f"{point.seconds:.2f}", f"{100 * point.share:.0f} %",
            f"{point.neurons_left:.0f}", _count(point, point.collapsed),
            _count(point, point.stopped), "*" if point in front else "",
        )  # fmt: skip
    return table


def _where(panel: Measured) -> str:
    return "no domain" if panel.domain == "none" else f"domain [{panel.domain.replace(',', ', ')}]"


def _count(point: CurvePoint, count: int) -> str:
    return f"{count}/{point.anchors}" if count else ""


def markdown_tables(panels: Sequence[Measured]) -> str:
    """One table per recipe and domain: rows are estimates, columns networks.

    A cell is "error / share of the full computation's time"; bold where no other estimate of the
    column, nor the attack, beats it in both.
    """
    groups: dict[tuple[str, str], list[Measured]] = {}
    for panel in panels:
        groups.setdefault((panel.plan["recipe"], _where(panel)), []).append(panel)
    parts = ["# Error and time of every estimate", INTRODUCTION]
    for (recipe, domain), members in groups.items():
        parts.append(f"## `{recipe}`, {domain}")
        parts.append(_markdown(members))
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """\
Written by `graphprune experiment plot`. A cell is the mean error, then the mean time as a share of
the full computation's (attack included, processor seconds); bold is the Pareto front of a column.
*gone*: anchors whose substitute has no boundary within the search limit, which then counts as its
distance; *stopped*: anchors whose time ran out; *on n*: measured on that many anchors only."""


def _markdown(panels: Sequence[Measured]) -> str:
    labels = list(
        dict.fromkeys((p.curve, p.label) for panel in panels for p in (panel.attack, *panel.points))
    )
    head = [f"`{m.plan['network']}` d_{m.plan['metric']}" for m in panels]
    counts = [
        f"{m.anchors}" + (f", {m.exact} exact" if m.exact < m.anchors else "") for m in panels
    ]
    rows = [
        ["", *head],
        ["---"] * (len(panels) + 1),
        ["anchors", *counts],
        ["full, seconds", *(f"{m.seconds:.3g}" for m in panels)],
    ]
    for curve, label in labels:
        cells = [_cell(panel, curve, label) for panel in panels]
        rows.append([curve if label == curve else f"{curve} `{label}`", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(panel: Measured, curve: str, label: str) -> str:
    everything = (panel.attack, *panel.points)
    point = next((p for p in everything if (p.curve, p.label) == (curve, label)), None)
    if point is None:
        return ""
    error = f"{point.error:.2g}" if point.error >= 1e-4 else "below 1e-4"
    text = f"{error} / {100 * point.share:.0f} %"
    if point in pareto(everything):
        text = f"**{text}**"
    notes = [
        f"{count} {what}"
        for count, what in ((point.collapsed, "gone"), (point.stopped, "stopped"))
        if count
    ]
    if point.anchors < panel.anchors:
        notes.append(f"on {point.anchors}")
    return ", ".join([text, *notes])


def write_numbers(panels: Sequence[Measured], folder: Path) -> list[Path]:
    """Write ``results.csv``, ``results.json`` and ``results.md``.

    One row per anchor and estimate; the means; the means as tables for people.
    """
    out = io.StringIO(newline="")
    rows = [row for panel in panels for row in panel.rows]
    writer = csv.DictWriter(out, list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    whole = {
        "schema": SCHEMA,
        "panels": [
            {
                **panel.to_json(),
                "pareto": [asdict(p) for p in pareto((panel.attack, *panel.points))],
            }
            for panel in panels
        ],
    }
    files = {
        folder / ROWS: out.getvalue().encode(),
        folder / "results.md": markdown_tables(panels).encode(),
        folder / MEANS: (json.dumps(whole, indent=1) + "\n").encode(),
    }
    for path, data in files.items():
        write_bytes(path, data)
    return list(files)


def read_panels(folders: Sequence[str | Path]) -> list[Measured]:
    """The panels of several experiments, or of published numbers; earlier folders come first.

    Parameters
    ----------
    folders
        Each the ``--out`` of an experiment or what `write_numbers` wrote to. Where two have the
        same network, recipe and domain, the panel of the earlier one is taken.

    Raises
    ------
    GraphpruneError
        A folder has neither, or its numbers cannot be read.
    """
    found: list[Measured] = []
    for folder in map(Path, folders):
        published = (folder / MEANS).is_file() and not any(folder.glob(f"*/*/{PLAN}"))
        found += _read_numbers(folder) if published else read_experiment(folder)
    return in_order(found)


def _read_numbers(folder: Path) -> list[Measured]:
    """Undo `write_numbers`."""
    try:
        document = json.loads((folder / MEANS).read_text())
        with (folder / ROWS).open(newline="") as lines:
            rows = [{k: _value(v) for k, v in row.items()} for row in csv.DictReader(lines)]
        return [_panel(panel, rows) for panel in document["panels"]]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise GraphpruneError(
            f"{folder}: {MEANS} and {ROWS} are not what 'graphprune experiment plot' writes: {e!r}"
        ) from None


def _panel(panel: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Measured:
    plan = panel["plan"]
    mine = panel_of(plan)
    return Measured(
        plan, panel["anchors"], panel["exact"], panel["seconds"], CurvePoint(**panel["attack"]),
        tuple(CurvePoint(**p) for p in panel["points"]),
        tuple(row for row in rows if mine.items() <= row.items()),
    )  # fmt: skip


def _value(text: str) -> str | float | bool | None:
    """A cell of `ROWS` as it was."""
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
