"""The report: one HTML file that needs nothing else."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphprune.evaluate.archive import Case, Evaluated
from graphprune.evaluate.at_radius import accuracy_text
from graphprune.evaluate.distance import recorded_text
from graphprune.evaluate.documents import seconds_of
from graphprune.evaluate.settings import domain_of
from graphprune.ir.export import write_bytes
from graphprune.region import Domain
from graphprune.report.curves import interval, stage_seconds
from graphprune.report.images import as_image, difference, picture
from graphprune.report.plots import accuracy_figure, inline_svg

TEMPLATES = Path(__file__).parent / "templates"
# A point with more numbers than this is not put into the page.
LARGEST_POINT = 4096


def write_report(networks: Sequence[Evaluated], path: str | Path) -> None:
    """Write the page; whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    write_bytes(path, render(networks).encode())


def render(networks: Sequence[Evaluated]) -> str:
    """The page as text."""
    import jinja2

    from graphprune import __version__

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = lambda v: "–" if v is None else f"{v:.5f}"
    environment.filters["key"] = lambda v: "" if v is None else v
    everything = inline_svg(accuracy_figure(networks), "accuracy against radius, all networks")
    return environment.get_template("report.html.j2").render(
        version=__version__,
        networks=[_network(number, network) for number, network in enumerate(networks)],
        overview=everything if len(networks) > 1 else "",
    )


def _network(number: int, network: Evaluated) -> dict[str, Any]:
    document = network.document
    records = [case.record for case in network.cases]
    title = f"accuracy against radius, {network.name}"
    return {
        "id": f"n{number}",
        "name": network.name,
        "model": document["model"],
        "settings": {k: _shown(v) for k, v in document["settings"].items()},
        "summary": document["summary"],
        "at_radius": accuracy_text(document["summary"]["at_radius"])
        if "at_radius" in document["summary"]
        else "",
        "statistics": _statistics(document["summary"]),
        "stages": stage_seconds(records),
        "curve": inline_svg(accuracy_figure([network]), title),
        "classes": sorted({r["label"] for r in records}),
        "anchors": [_anchor(f"n{number}", case, document) for case in network.cases],
    }


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _statistics(summary: dict[str, Any]) -> list[tuple[str, float, float]]:
    return [(name, summary["mean"][name], summary["median"][name]) for name in summary["mean"]]


def _anchor(prefix: str, case: Case, document: dict[str, Any]) -> dict[str, Any]:
    record = case.record
    bnd = record.get("d_bnd")
    lower, upper = interval(record)
    nearest = next(
        (
            record[m]["target"]
            for m in ("d_bnd", "d_adv")
            if m in record and record[m].get("target") is not None
        ),
        None,
    )
    return {
        "id": f"{prefix}-a{record['index']}",
        "record": record,
        "adv": record.get("d_adv", {}).get("value"),
        "rob": record.get("d_rob", {}).get("value"),
        "bnd": None if bnd is None else recorded_text(bnd),
        "bnd_key": None if bnd is None else bnd["lower"],
        "nearest": nearest,
        "note": record.get("message", ""),
        "seconds": seconds_of(record),
        "axis": _axis(record, lower, upper),
        "layers": record.get("d_rob", {}).get("layers", []),
        "replaced": _replaced(record),
        "pictures": _pictures(case, domain_of(document["settings"])),
        "downloads": _downloads(case),
    }


def _replaced(record: dict[str, Any]) -> dict[str, list[int]]:
    """Per estimate by a substitute, how many living neurons it replaced in every layer."""
    layers = record.get("d_rob", {}).get("layers", [])
    return {
        f"{e['metric']} by {e['spec']}": [
            layer["neurons"] - left for layer, left in zip(layers, e["layers_left"], strict=True)
        ]
        for e in record.get("estimates", [])
        if layers and e.get("layers_left") is not None
    }


def _axis(record: dict[str, Any], lower: float, upper: float) -> dict[str, Any] | None:
    """Places of the distances on one axis of 100 units; None where there is nothing to show."""
    adv, rob = record.get("d_adv", {}).get("value"), record.get("d_rob", {}).get("value")
    known = [v for v in (adv, rob, lower, upper) if v is not None and np.isfinite(v)]
    end = 1.1 * max(known, default=0.0)
    if end <= 0:
        return None
    return {
        "end": end,
        "lower": 100 * lower / end,
        "upper": 100.0 if not np.isfinite(upper) else 100 * upper / end,
        "open": not np.isfinite(upper),
        "rob": None if rob is None else 100 * rob / end,
        "adv": None if adv is None else 100 * adv / end,
    }


def _pictures(case: Case, domain: Domain) -> list[tuple[str, str]]:
    image = as_image(case.x)
    if image is None:
        return []
    low, high = float(image.min()), float(image.max())
    if domain.bounded:
        low, high = domain.outermost
    shown = [("image", picture(image, low, high))]
    if case.points:
        metric, witness = min(case.points, key=lambda p: p[1].distance)
        other = as_image(np.asarray(witness.x).reshape(case.x.shape))
        assert other is not None
        shown.append((f"adversarial ({metric}, class {witness.target})", picture(other, low, high)))
        shown.append((f"difference, at most {witness.distance:.4f}", difference(image, other)))
    return shown


def _downloads(case: Case) -> list[tuple[str, str]]:
    """(file name, data URI) of every point behind an upper bound."""
    files = []
    for metric, witness in case.points:
        if witness.x.size <= LARGEST_POINT:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, x=witness.x, target=witness.target)
            data = base64.b64encode(buffer.getvalue()).decode()
            name = f"anchor-{case.record['index']}-{metric}.npz"
            files.append((name, f"data:application/octet-stream;base64,{data}"))
    return files
