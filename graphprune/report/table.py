"""Tables for the terminal."""

from collections.abc import Sequence
from statistics import mean

from rich.markup import escape
from rich.table import Table

from graphprune.evaluate.asked import as_asked
from graphprune.evaluate.at_radius import accuracy_text
from graphprune.evaluate.growth import STOPPED
from graphprune.evaluate.reading import AnchorRecord, DocumentRecord, counting
from graphprune.number_text import number_text

# Below a table with estimates.
LEGEND = "by ...: an estimate, nothing proven; but [a, b] is proven. <= a: stopped by a limit at a."
# A search that proved less than this share of the gap that a certificate left is out of its depth.
DEPTH = 0.2
# In fewer seconds a search that the time limit stopped has not shown that.
SHORT = 10.0
# Below one with an end that is not certified.
STARRED = "*: rests on a solver's numerics, not certified."


def results_table(document: DocumentRecord) -> Table:
    """One row per anchor, the mean below."""
    model = document.model
    table = Table(
        title=f"{escape(model.path or 'model')}: {model.neurons} neurons,"
        f" {model.parameters} parameters",
        title_justify="left",
    )
    specs = estimates_of(document.anchors)
    starred = any(_uncertified(record) for record in document.anchors)
    notes = [LEGEND] * bool(specs) + [STARRED] * starred
    if notes:
        table.caption, table.caption_justify = escape(" ".join(notes)), "left"
    table.add_column("anchor", justify="right")
    table.add_column("class", justify="right")
    for metric in _columns(document):
        table.add_column(f"d_{metric}", justify="right")
    table.add_column("nearest\nclass", justify="right")
    if document.radius is not None:
        table.add_column(f"at radius\n{document.radius:g}", justify="right")
    for spec, metric in specs:
        # Folded, not cut: what tells two of them apart may stand at their ends.
        table.add_column(escape(f"{metric} by\n{spec}"), justify="right", overflow="fold")
    table.add_column("seconds", justify="right")
    for record in document.anchors:
        table.add_row(*map(escape, _row(record, document, specs)))
    table.add_section()
    table.add_row(*map(escape, _mean_row(document, specs)))
    return table


def _columns(document: DocumentRecord) -> list[str]:
    """The metrics asked for, in the order of their ends."""
    return [metric for metric in ("rob", "bnd", "adv") if metric in document.metrics]


def _uncertified(record: AnchorRecord) -> bool:
    """True where a row has an interval whose lower end is not certified."""
    trusted = (record.bnd is None or record.bnd.certified, *(e.certified for e in record.estimates))
    return not all(trusted)


def estimates_of(records: Sequence[AnchorRecord]) -> list[tuple[str, str]]:
    """(text, metric) of every estimate of some record."""
    return list(dict.fromkeys((e.spec, e.metric) for record in records for e in record.estimates))


def _number(value: float | None) -> str:
    return "-" if value is None else number_text(value)


def _row(record: AnchorRecord, document: DocumentRecord, specs: list[tuple[str, str]]) -> list[str]:
    row, metrics = [str(record.index), str(record.label)], _columns(document)
    at_radius = [] if document.radius is None else [str(record.at_radius)]
    if record.status != "ok":
        note = f"predicted {record.predicted}" if record.message is None else record.message
        blanks = [""] * len(metrics)
        if blanks:
            blanks[0] = f"{record.status}: {note}"
        return [*row, *blanks, "", *([""] * len(at_radius)), *([""] * len(specs)), ""]
    row += [_metric(record, metric) for metric in metrics]
    row += ["-" if record.nearest is None else str(record.nearest), *at_radius]
    by_spec = {(e.spec, e.metric): e.text for e in record.estimates}
    row += [by_spec.get(key, "") for key in specs]
    return [*row, f"{record.seconds:.1f}{' (stopped)' if record.interrupted else ''}"]


def _metric(record: AnchorRecord, metric: str) -> str:
    """A metric of the network itself, as a row shows it."""
    if metric == "bnd" and record.bnd is not None:
        return record.bnd.text
    if metric == "rob" and record.rob is not None:
        stopped = record.rob.stopped and record.rob.value is not None
        return f"{'>= ' if stopped else ''}{_number(record.rob.value)}"
    return _number(None if record.adv is None else record.adv.value)


def _mean_row(document: DocumentRecord, specs: list[tuple[str, str]]) -> list[str]:
    means = document.summary.mean
    good = [record for record in document.anchors if record.finished]
    row = ["mean", ""]
    for metric in _columns(document):
        if metric == "bnd":
            bounds = [record.bnd for record in good if record.bnd is not None]
            row.append(_mean_interval([(bnd.lower, bnd.upper) for bnd in bounds]))
        else:
            row.append(_number(means.get(f"d_{metric}")))
    row += [""] * (1 if document.radius is None else 2)
    for spec, metric in specs:
        found = [e for r in good for e in r.estimates if (e.spec, e.metric) == (spec, metric)]
        ends = [(e.lower, e.upper) for e in found]
        if not any(None in pair for pair in ends):
            row.append(_mean_interval(ends))
        else:
            row.append(_number(means.get(f"{spec} {metric}")))
    return [*row, f"{mean(record.seconds for record in good):.1f}" if good else ""]


def _mean_interval(ends: Sequence[tuple[float | None, float | None]]) -> str:
    """Mean of the intervals with two ends, and their share of all."""
    closed = [(low, high) for low, high in ends if low is not None and high is not None]
    if not closed:
        return "-"
    lower, upper = map(mean, zip(*closed, strict=True))
    same = upper - lower <= 1e-4 * upper
    text = _number(upper) if same else f"[{_number(lower)}, {_number(upper)}]"
    return text if len(closed) == len(ends) else f"{text} ({len(closed)} of {len(ends)})"


def causes(document: DocumentRecord) -> list[str]:
    """Why estimates have no value: one line per estimate and message, with its anchors."""
    found: dict[tuple[str, str], list[str]] = {}
    for record in document.anchors:
        for e in record.estimates:
            if e.status == "error":
                found.setdefault((e.name, str(e.message)), []).append(str(record.index))
    return [f"{what}, anchor {', '.join(at)}: {why}" for (what, why), at in found.items()]


def advice(document: DocumentRecord) -> list[str]:
    """Say so where the exact search gained next to nothing, and what to ask instead."""
    open_ = [
        r for r in document.anchors
        if r.finished and r.bnd is not None
        and not as_asked(r.bnd.lower, r.bnd.upper, r.bnd.status, document.settings)
    ]  # fmt: skip
    limit = document.settings.get("time_limit")
    deep = [r for r in open_ if _gained(r) < DEPTH and not _hurried(r, limit)]
    if not deep or document.settings.get("solver") == "scip":
        return []
    which = f"anchor {', '.join(str(r.index) for r in deep)}"
    return [
        f"{which}: the exact search is out of its depth, and little would come of more time. Other"
        " questions have answers: d_rob and d_adv alone, `graphprune certify --radius R` whether it"
        " is robust there, `graphprune evaluate --sound` an interval by substitutes."
    ]


def _hurried(record: AnchorRecord, limit: float | None) -> bool:
    """True where the limit ended a search that had hardly begun."""
    seconds = 0.0 if record.bnd is None else record.bnd.seconds
    return limit is not None and STOPPED * limit <= seconds < SHORT


def _gained(record: AnchorRecord) -> float:
    """The share of the way from d_rob to the closest point that the search has proven."""
    lower, upper = record.ends
    start = 0.0 if record.rob is None or record.rob.value is None else record.rob.value
    if not start < upper < float("inf"):
        return 1.0
    return (lower - start) / (upper - start)


def summary_line(document: DocumentRecord) -> str:
    """A sentence on how many anchors ended how, and one on the accuracy at the radius asked for."""
    s = document.summary
    parts = [f"{s.anchors} anchors", f"{s.ok} ok"]
    if "bnd" in document.metrics:
        parts.append(f"{s.exact} exact")
    for count, status in ((s.misclassified, "misclassified"), (s.error, "error")):
        if count:
            parts.append(f"{count} {status}")
    if s.skipped:
        parts.append(f"{s.skipped} skipped (of the target class)")
    line = ", ".join(parts) + f" in {s.seconds:.1f} s"
    if threat := document.settings.get("threat"):
        line += f"; distances by {threat}"
    if counts := counting(document.settings):
        line += f"; adversarial is {counts}"
    return line if s.at_radius is None else f"{line}\n{accuracy_text(s.at_radius)}"
