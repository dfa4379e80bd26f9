"""The report: one HTML file that needs nothing else."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from graphprune.evaluate.archive import Case, Evaluated
from graphprune.evaluate.at_radius import accuracy_text
from graphprune.evaluate.reading import AnchorRecord, SummaryRecord, counting
from graphprune.evaluate.settings import domain_of
from graphprune.ir.export import write_bytes
from graphprune.notebook import as_image, picture
from graphprune.number_text import number_text
from graphprune.region import Domain
from graphprune.report.curves import stage_seconds
from graphprune.report.images import difference
from graphprune.report.overview import by_class, duel, extremes
from graphprune.report.plots import accuracy_figure, duel_figure, histogram_figure, inline_svg
from graphprune.report.table import estimates_of

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
    environment.filters["number"] = lambda v: "–" if v is None else number_text(v)
    environment.filters["key"] = lambda v: "" if v is None else v
    everything = inline_svg(accuracy_figure(networks), "accuracy against radius, all networks")
    return environment.get_template("report.html.j2").render(
        version=__version__,
        networks=[_network(number, network) for number, network in enumerate(networks)],
        overview=everything if len(networks) > 1 else "",
        duels=_duels(networks),
    )


def _duels(networks: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Every network after the first against it, anchor by anchor."""
    found = []
    for other in networks[1:]:
        pair = duel(networks[0], other)
        if pair is not None:
            title = f"{pair.names[0]} against {pair.names[1]}"
            found.append(
                {"title": title, "pair": pair, "figure": inline_svg(duel_figure(pair), title)}
            )
    return found


def _network(number: int, network: Evaluated) -> dict[str, Any]:
    document, summary = network.document, network.document.summary
    title = f"accuracy against radius, {network.name}"
    return {
        "id": f"n{number}",
        "name": network.name,
        "model": document.model,
        "settings": {k: _shown(v) for k, v in document.settings.items()},
        "counting": counting(document.settings),
        "summary": summary,
        "at_radius": "" if summary.at_radius is None else accuracy_text(summary.at_radius),
        "statistics": _statistics(summary),
        "stages": stage_seconds(document.anchors),
        "curve": inline_svg(accuracy_figure([network]), title),
        "classes": sorted({record.label for record in document.anchors}),
        "by_class": by_class(document.anchors),
        "histogram": _histogram(network),
        "extremes": _extremes(f"n{number}", network),
        "estimates": estimates_of(document.anchors),
        "version": network.version,
        "anchors": [
            _anchor(f"n{number}", case, domain_of(document.settings)) for case in network.cases
        ],
    }


def _histogram(network: Evaluated) -> str:
    figure = histogram_figure(network.document.anchors)
    return "" if figure is None else inline_svg(figure, f"distances of {network.name}")


def _extremes(prefix: str, network: Evaluated) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Captions and (link, caption, picture) of the closest and farthest anchors that are images."""
    domain = domain_of(network.document.settings)
    found = []
    for title, cases in zip(("closest", "farthest"), extremes(network.cases), strict=True):
        shown = [
            (f"{prefix}-a{case.record.index}", _caption(case.record), pictures[0][1])
            for case in cases
            if (pictures := _pictures(replace(case, points=[]), domain))
        ]
        if shown:
            found.append((title, shown))
    return found


def _caption(record: AnchorRecord) -> str:
    nearest = "" if record.nearest is None else f" to {record.nearest}"
    return f"{record.index}: class {record.label}{nearest}, {record.ends[1]:.4f}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _statistics(summary: SummaryRecord) -> list[tuple[str, float, float]]:
    return [(name, value, summary.median[name]) for name, value in summary.mean.items()]


def _anchor(prefix: str, case: Case, domain: Domain) -> dict[str, Any]:
    record = case.record
    adv, rob, bnd = record.adv, record.rob, record.bnd
    return {
        "id": f"{prefix}-a{record.index}",
        "record": record,
        "adv": None if adv is None else adv.value,
        "rob": None if rob is None else rob.value,
        "bnd": None if bnd is None else bnd.text,
        "bnd_key": None if bnd is None else bnd.lower,
        "nearest": record.nearest,
        "axis": _axis(record),
        "estimates": {(e.spec, e.metric): e.text for e in record.estimates},
        "margins": _margins(record),
        "layers": () if rob is None else rob.layers,
        "replaced": _replaced(record),
        "pictures": _pictures(case, domain),
        "downloads": _downloads(case),
    }


def _margins(record: AnchorRecord) -> list[tuple[int, float, float]]:
    """(class, margin, share of the largest one) at the anchor, the closest classes first."""
    others = [(t, m) for t, m in enumerate(record.margins) if t != record.label]
    most = max((abs(m) for _, m in others), default=0.0) or 1.0
    return [(t, m, 100.0 * abs(m) / most) for t, m in sorted(others, key=lambda pair: pair[1])]


def _replaced(record: AnchorRecord) -> dict[str, list[int]]:
    """Per estimate by a substitute, how many live neurons it replaced in every layer."""
    layers = () if record.rob is None else record.rob.layers
    return {
        e.name: [layer.neurons - left for layer, left in zip(layers, e.layers_left, strict=True)]
        for e in record.estimates
        if layers and e.layers_left is not None
    }


def _axis(record: AnchorRecord) -> dict[str, Any] | None:
    """Places of the distances on one axis of 100 units; None where there is nothing to show."""
    lower, upper = record.ends
    adv, rob = (None if part is None else part.value for part in (record.adv, record.rob))
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
        most = float(np.max(np.abs(other.astype(np.float64) - image), initial=0.0))
        text = f"difference: blue -{most:.4f}, grey 0, orange +{most:.4f}"
        shown.append((text, difference(image, other)))
    return shown


def _downloads(case: Case) -> list[tuple[str, str]]:
    """(file name, data URI) of every point behind an upper bound."""
    files = []
    for metric, witness in case.points:
        if witness.x.size <= LARGEST_POINT:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, x=witness.x, target=witness.target)
            data = base64.b64encode(buffer.getvalue()).decode()
            name = f"anchor-{case.record.index}-{metric}.npz"
            files.append((name, f"data:application/octet-stream;base64,{data}"))
    return files
