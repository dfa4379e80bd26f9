"""The JSON documents of the public contract."""

import json
import os
from pathlib import Path
from statistics import mean, median
from typing import Any

from graphprune.attacks.attack import Attack
from graphprune.errors import OutputError
from graphprune.evaluate.at_radius import accuracy
from graphprune.evaluate.distance import Distance
from graphprune.evaluate.reading import read_estimate
from graphprune.evaluate.results import (
    CertifiedRadius,
    EstimateResult,
    ProvenDistance,
    Result,
)
from graphprune.evaluate.serialise import Record, value_of
from graphprune.evaluate.settings import Settings
from graphprune.ir import Network
from graphprune.ir.export import write_bytes
from graphprune.number_text import interval_text, number_text

SCHEMA = "graphprune/1"


def document(
    network: Network, settings: Settings, records: list[Record], seconds: float
) -> dict[str, Any]:
    """Everything found on one network."""
    return {
        "schema": SCHEMA,
        "model": model_json(network),
        "settings": settings.to_json(),
        "anchors": records,
        "summary": summary(records, seconds, settings),
    }


def model_json(network: Network) -> dict[str, Any]:
    source = network.source
    return {
        "path": None if source.path is None else str(source.path),
        "sha256": source.sha256,
        "neurons": network.neurons,
        "parameters": network.parameters,
    }


def summary(
    records: list[Record], seconds: float, settings: Settings | None = None
) -> dict[str, Any]:
    """Counts, and mean and median of every metric over the anchors with status ok.

    The limit at which a collapsed substitute's search ended is no distance; what is known of an
    anchor that was interrupted is no result.

    Parameters
    ----------
    settings
        Where they have a radius, the accuracy at it is told.
    """
    good = [r for r in records if r["status"] == "ok"]
    columns: dict[str, list[float]] = {}
    for record in finished(records):
        values = {
            "d_adv": record.get("d_adv", {}).get("value"),
            "d_rob": record.get("d_rob", {}).get("value"),
            "d_bnd.lower": record.get("d_bnd", {}).get("lower"),
            "d_bnd.upper": record.get("d_bnd", {}).get("upper"),
        }
        for estimate in record.get("estimates", []):
            gone = estimate.get("status") == "collapsed"
            name = f"{estimate['spec']} {estimate['metric']}"
            values[name] = None if gone else estimate["value"]
        for name, value in values.items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    statuses = ("ok", "misclassified", "error")
    skipped = sum(r["status"] == "skipped" for r in records)
    return {
        "anchors": len(records),
        **{status: sum(r["status"] == status for r in records) for status in statuses},
        **({"skipped": skipped} if skipped else {}),
        "exact": sum(r.get("d_bnd", {}).get("status") == "exact" for r in good),
        "mean": {name: mean(values) for name, values in columns.items()},
        "median": {name: median(values) for name, values in columns.items()},
        "seconds": seconds,
        **_at_radius(records, settings),
    }


def _at_radius(records: list[Record], settings: Settings | None) -> dict[str, Any]:
    if settings is None or settings.radius is None:
        return {}
    return {"at_radius": accuracy(records, settings.radius, settings.metrics)}


def finished(records: list[Record]) -> list[Record]:
    """Those with status ok whose tasks are all done."""
    return [r for r in records if r["status"] == "ok" and "interrupted" not in r]


def seconds_of(record: Record) -> float:
    """Computing time of everything in an anchor's record."""
    parts = [record[k] for k in ("d_adv", "d_rob", "d_bnd") if k in record]
    return float(sum(part["seconds"] for part in [*parts, *record.get("estimates", [])]))


def result_text(result: Result) -> str:
    """A result as progress lines write it."""
    if result.failure is not None:
        return result.failure.message
    match result.found:
        case Attack(distance=float(value)):
            return number_text(value)
        case CertifiedRadius(certificate=found):
            return f"{number_text(found.radius)}{' (out of time)' if found.stopped else ''}"
        case (Distance() as found) | ProvenDistance(distance=found):
            ends = found.lower, found.upper, found.status
            return interval_text(*ends, certified=found.certified)
        case EstimateResult():
            return read_estimate(value_of(result)).text
    return "none found"


def as_json(documents: list[dict[str, Any]]) -> str:
    """The document of one model, or all of them under ``runs``."""
    whole = documents[0] if len(documents) == 1 else {"schema": SCHEMA, "runs": documents}
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def write_json(path: str | Path, documents: list[dict[str, Any]]) -> None:
    """Write them to a file."""
    write_bytes(path, as_json(documents).encode())


def check_writable(path: str | Path) -> None:
    """Say before an hour's run, not after it, that a result cannot be written."""
    target = Path(path)
    if target.is_dir():
        raise OutputError(f"{path}: is a folder")
    if not target.parent.is_dir():
        raise OutputError(f"{path}: the folder {target.parent} does not exist")
    # A device or a pipe is written; a file is replaced.
    written = [target] if target.exists() else []
    if not written or target.is_file():
        written.append(Path(os.path.realpath(target)).parent)
    if not all(os.access(one, os.W_OK) for one in written):
        raise OutputError(f"{path}: cannot write: permission denied")
