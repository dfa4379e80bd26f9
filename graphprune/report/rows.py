"""Flat rows of a run: CSV, Markdown and Parquet."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from graphprune.errors import GraphpruneError
from graphprune.evaluate.archive import Evaluated
from graphprune.number_text import number_text

Row = dict[str, Any]
FORMATS = ("html", "md", "csv", "parquet")


def rows(networks: Sequence[Evaluated]) -> list[Row]:
    """One row per anchor and network; every row has the same columns."""
    found = [
        {"network": network.name} | case.record.flat
        for network in networks
        for case in network.cases
    ]
    columns: dict[str, None] = {name: None for row in found for name in row}
    return [{name: row.get(name) for name in columns} for row in found]


def as_csv(networks: Sequence[Evaluated]) -> bytes:
    table = rows(networks)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(table[0]) if table else [])
    writer.writeheader()
    writer.writerows(table)
    return out.getvalue().encode()


def as_markdown(networks: Sequence[Evaluated]) -> bytes:
    table = rows(networks)
    if not table:
        return b"no anchors\n"
    names = [n for n in table[0] if any(row[n] is not None for row in table)]
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row[n]) for n in names) + " |" for row in table]
    return ("\n".join(lines) + "\n").encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = number_text(value) if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def as_parquet(networks: Sequence[Evaluated]) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise GraphpruneError(
            "--format parquet needs pyarrow: pip install 'graphprune[parquet]'"
        ) from None
    table = rows(networks)
    # Named types: a column without values would have none.
    schema = pa.schema([(name, getattr(pa, _type(name))()) for name in (table[0] if table else ())])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(table, schema=schema), buffer)
    return buffer.getvalue()


def _type(column: str) -> str:
    """The Arrow type of a column, by its name."""
    if column in ("index", "label", "predicted") or column.endswith("_target"):
        return "int64"
    if column in ("interrupted", "d_rob_stopped", "d_bnd_certified"):
        return "bool_"
    texts = ("network", "status", "message", "at_radius", "d_bnd_status")
    return "string" if column in texts or column.endswith(": status") else "float64"
