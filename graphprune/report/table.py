"""Tables for the terminal."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from rich.markup import escape
from rich.table import Table

from graphprune.evaluate.at_radius import accuracy_text
from graphprune.evaluate.distance import recorded_text
from graphprune.evaluate.documents import estimate_text, finished, seconds_of

Record = dict[str, Any]
# Below a table with estimates.
LEGEND = "by ...: an estimate, nothing proven; but [a, b] is proven. <= a: stopped by a limit at a."
# Below one with an end that is not certified.
STARRED = "*: rests on a solver's numerics, not certified."


def results_table(document: dict[str, Any]) -> Table:
    """One row per anchor, the mean below."""
    model = document["model"]
    table = Table(
        title=f"{escape(model['path'] or 'model')}: {model['neurons']} neurons,"
        f" {model['parameters']} parameters",
        title_justify="left",
    )
    metrics = document["settings"]["metrics"]
    specs = _estimates(document["anchors"])
    starred = any(_uncertified(record) for record in document["anchors"])
    notes = [LEGEND] * bool(specs) + [STARRED] * starred
    if notes:
        table.caption, table.caption_justify = escape(" ".join(notes)), "left"
    table.add_column("anchor", justify="right")
    table.add_column("class", justify="right")
    for metric in ("rob", "bnd", "adv"):
        if metric in metrics:
            table.add_column(f"d_{metric}", justify="right")
    table.add_column("nearest\nclass", justify="right")
    radius = document["settings"].get("radius")
    if radius is not None:
        table.add_column(f"at radius\n{radius:g}", justify="right")
    for spec, metric in specs:
        # Folded, not cut: what tells two of them apart may stand at their ends.
        table.add_column(escape(f"{metric} by\n{spec}"), justify="right", overflow="fold")
    table.add_column("seconds", justify="right")
    for record in document["anchors"]:
        table.add_row(*map(escape, _row(record, document["settings"], specs)))
    table.add_section()
    table.add_row(*map(escape, _mean_row(document, metrics, specs)))
    return table


def _uncertified(record: Record) -> bool:
    """True where a row has an interval whose lower end is not certified."""
    intervals = [record.get("d_bnd", {}), *record.get("estimates", [])]
    return any(not interval.get("certified", True) for interval in intervals)


def _estimates(records: list[Record]) -> list[tuple[str, str]]:
    seen: dict[tuple[str, str], None] = {}
    for record in records:
        for estimate in record.get("estimates", []):
            seen[estimate["spec"], estimate["metric"]] = None
    return list(seen)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _row(record: Record, settings: Record, specs: list[tuple[str, str]]) -> list[str]:
    metrics = settings["metrics"]
    row = [str(record["index"]), str(record["label"])]
    at_radius = [record["at_radius"]] if settings.get("radius") is not None else []
    if record["status"] != "ok":
        note = record.get("message", f"predicted {record.get('predicted')}")
        blanks = [""] * sum(m in metrics for m in ("rob", "bnd", "adv"))
        if blanks:
            blanks[0] = f"{record['status']}: {note}"
        return [*row, *blanks, "", *([""] * len(at_radius)), *([""] * len(specs)), ""]
    target = None
    for metric in ("rob", "bnd", "adv"):
        if metric not in metrics:
            continue
        value = record[f"d_{metric}"]
        target = value.get("target") if value.get("target") is not None else target
        if metric == "bnd":
            row.append(recorded_text(value))
        else:
            stopped = value.get("stopped") and value["value"] is not None
            row.append(f"{'>= ' if stopped else ''}{_number(value['value'])}")
    row += ["-" if target is None else str(target), *at_radius]
    by_spec = {(e["spec"], e["metric"]): e for e in record["estimates"]}
    row += [estimate_text(by_spec[key]) if key in by_spec else "" for key in specs]
    return [*row, f"{seconds_of(record):.1f}"]


def _mean_row(
    document: dict[str, Any], metrics: list[str], specs: list[tuple[str, str]]
) -> list[str]:
    means = document["summary"]["mean"]
    good = finished(document["anchors"])
    row = ["mean", ""]
    for metric in ("rob", "bnd", "adv"):
        if metric not in metrics:
            continue
        if metric == "bnd":
            row.append(_mean_interval([(r["d_bnd"]["lower"], r["d_bnd"]["upper"]) for r in good]))
        else:
            row.append(_number(means.get(f"d_{metric}")))
    row += [""] * (1 if document["settings"].get("radius") is None else 2)
    for spec, metric in specs:
        found = [
            e for r in good for e in r["estimates"] if (e["spec"], e["metric"]) == (spec, metric)
        ]
        ends = [(e.get("lower"), e.get("upper")) for e in found]
        if not any(None in pair for pair in ends):
            row.append(_mean_interval(ends))
        else:
            row.append(_number(means.get(f"{spec} {metric}")))
    return [*row, f"{mean(map(seconds_of, good)):.1f}" if good else ""]


def _mean_interval(ends: Sequence[tuple[float | None, float | None]]) -> str:
    """Mean of the intervals with two ends, and their share of all."""
    closed = [(low, high) for low, high in ends if low is not None and high is not None]
    if not closed:
        return "-"
    lower, upper = map(mean, zip(*closed, strict=True))
    same = upper - lower <= 1e-4 * upper
    text = _number(upper) if same else f"[{_number(lower)}, {_number(upper)}]"
    return text if len(closed) == len(ends) else f"{text} ({len(closed)} of {len(ends)})"


def causes(document: dict[str, Any]) -> list[str]:
    """Why estimates have no value: one line per estimate and message, with its anchors."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in document["anchors"]:
        for e in record.get("estimates", []):
            if e.get("status") == "error":
                key = f"{e['metric']} by {e['spec']}", e["message"]
                found.setdefault(key, []).append(str(record["index"]))
    return [f"{what}, anchor {', '.join(at)}: {why}" for (what, why), at in found.items()]


def summary_line(document: dict[str, Any]) -> str:
    """A sentence on how many anchors ended how, and one on the accuracy at the radius asked for."""
    s = document["summary"]
    parts = [f"{s['anchors']} anchors", f"{s['ok']} ok"]
    if "bnd" in document["settings"]["metrics"]:
        parts.append(f"{s['exact']} exact")
    parts += [f"{s[k]} {k}" for k in ("misclassified", "error") if s[k]]
    line = ", ".join(parts) + f" in {s['seconds']:.1f} s"
    return f"{line}\n{accuracy_text(s['at_radius'])}" if "at_radius" in s else line
