"""The numbers of an experiment: tables for the terminal, CSV and JSON for others."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from graphprune.evaluate.documents import SCHEMA
from graphprune.evaluate.experiment import Measured, Point, pareto
from graphprune.ir.export import write_bytes


def experiment_table(panel: Measured) -> Table:
    """Every point of a panel; those that nothing beats in error and runtime are marked."""
    where = "none" if panel.plan["settings"]["domain"] is None else "[0, 1]"
    table = Table(
        title=f"{panel.title}, recipe {panel.plan['recipe']}, domain {where}: {panel.anchors}"
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


def _count(point: Point, count: int) -> str:
    return f"{count}/{point.anchors}" if count else ""


def write_numbers(panels: Sequence[Measured], folder: Path) -> list[Path]:
    """``results.csv``, one row per anchor and estimate, and ``results.json``, the means."""
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
        folder / "results.csv": out.getvalue().encode(),
        folder / "results.json": (json.dumps(whole, indent=1) + "\n").encode(),
    }
    for path, data in files.items():
        write_bytes(path, data)
    return list(files)
