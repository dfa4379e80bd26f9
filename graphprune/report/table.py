"""Tables for the terminal."""

from typing import Any

from rich.markup import escape
from rich.table import Table

from graphprune.evaluate.distance import interval_text

Record = dict[str, Any]


def results_table(document: dict[str, Any]) -> Table:
    """One row per anchor, the mean below."""
    model = document["model"]
    table = Table(
        title=f"{model['path'] or 'model'}: {model['neurons']} neurons,"
        f" {model['parameters']} parameters",
        title_justify="left",
    )
    metrics = document["settings"]["metrics"]
    specs = _estimates(document["anchors"])
    table.add_column("anchor", justify="right")
    table.add_column("class", justify="right")
    for metric in ("rob", "bnd", "adv"):
        if metric in metrics:
            table.add_column(f"d_{metric}", justify="right")
    table.add_column("nearest", justify="right")
    for spec, metric in specs:
        table.add_column(f"{metric} by\n{spec}", justify="right")
    table.add_column("seconds", justify="right")
    for record in document["anchors"]:
        table.add_row(*map(escape, _row(record, metrics, specs)))
    table.add_section()
    table.add_row(*map(escape, _mean_row(document, metrics, specs)))
    return table


def _estimates(records: list[Record]) -> list[tuple[str, str]]:
    seen: dict[tuple[str, str], None] = {}
    for record in records:
        for estimate in record.get("estimates", []):
            seen[estimate["spec"], estimate["metric"]] = None
    return list(seen)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _row(record: Record, metrics: list[str], specs: list[tuple[str, str]]) -> list[str]:
    row = [str(record["index"]), str(record["label"])]
    if record["status"] != "ok":
        note = record.get("message", f"predicted {record.get('predicted')}")
        blanks = [""] * sum(m in metrics for m in ("rob", "bnd", "adv"))
        if blanks:
            blanks[0] = f"{record['status']}: {note}"
        return [*row, *blanks, "", *([""] * len(specs)), ""]
    seconds = 0.0
    target = None
    for metric in ("rob", "bnd", "adv"):
        if metric not in metrics:
            continue
        value = record[f"d_{metric}"]
        seconds += value["seconds"]
        target = value.get("target") if value.get("target") is not None else target
        if metric == "bnd":
            row.append(interval_text(value["lower"], value["upper"], value["status"]))
        else:
            row.append(_number(value["value"]))
    row.append("-" if target is None else str(target))
    by_spec = {(e["spec"], e["metric"]): e for e in record["estimates"]}
    for key in specs:
        estimate = by_spec.get(key)
        shown = "" if estimate is None else _number(estimate["value"])
        if estimate is not None and estimate.get("status") in ("collapsed", "error"):
            shown = estimate["status"]
        elif estimate is not None and estimate.get("status") == "interval":
            shown = f"<= {shown}"
        row.append(shown)
        seconds += 0.0 if estimate is None else estimate["seconds"]
    return [*row, f"{seconds:.1f}"]


def _mean_row(
    document: dict[str, Any], metrics: list[str], specs: list[tuple[str, str]]
) -> list[str]:
    means = document["summary"]["mean"]
    row = ["mean", ""]
    for metric in ("rob", "bnd", "adv"):
        if metric not in metrics:
            continue
        if metric == "bnd" and "d_bnd.lower" in means:
            lower, upper = means["d_bnd.lower"], means.get("d_bnd.upper")
            same = upper is not None and upper - lower <= 1e-4 * upper
            row.append(_number(upper) if same else f"[{_number(lower)}, {_number(upper)}]")
        else:
            row.append(_number(means.get(f"d_{metric}")))
    row.append("")
    row += [_number(means.get(f"{spec} {metric}")) for spec, metric in specs]
    return [*row, f"{document['summary']['seconds']:.1f}"]


def summary_line(document: dict[str, Any]) -> str:
    """One sentence on how many anchors ended how."""
    s = document["summary"]
    parts = [f"{s['anchors']} anchors", f"{s['ok']} ok"]
    if "bnd" in document["settings"]["metrics"]:
        parts.append(f"{s['exact']} exact")
    parts += [f"{s[k]} {k}" for k in ("misclassified", "error") if s[k]]
    return ", ".join(parts) + f" in {s['seconds']:.1f} s"
