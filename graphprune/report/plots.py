"""Figures of a run by matplotlib: accuracy against the radius, for files and for pages."""

import io
import re
from collections.abc import Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from graphprune.errors import GraphpruneError
from graphprune.evaluate.archive import Evaluated
from graphprune.evaluate.reading import AnchorRecord
from graphprune.ir.export import write_bytes
from graphprune.report.curves import curves
from graphprune.report.overview import Duel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour-blind safe (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
INK = "#1a1b1c"
FORMATS = ("svg", "png", "pdf")
BINS = 30


def accuracy_figure(networks: Sequence[Evaluated]) -> "Figure":
    """Certified and attacked accuracy of every network, the gap between them shaded."""
    figure, axes = _axes("radius", "share of anchors")
    for number, network in enumerate(networks):
        colour = COLOURS[number % len(COLOURS)]
        line = curves(network.document.anchors)
        axes.fill_between(
            line.radii, line.certified, line.attacked, step="post", color=colour, alpha=0.2, lw=0
        )
        axes.step(
            line.radii, line.certified, where="post", color=colour, label=network.name.lstrip("_")
        )
        axes.step(line.radii, line.attacked, where="post", color=colour, ls="--")
    axes.set(ylim=(0, 1.02), xlim=(0, None))
    axes.set_title("solid: certified; dashed: not attacked; between: open", fontsize=9, color=INK)
    if len(networks) > 1:
        for text in axes.legend(frameon=False, labelcolor=INK).get_texts():
            text.set_parse_math(False)  # a name is a name, whatever signs it has
    return figure


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure as .svg, .png or .pdf, whole or not at all."""
    kind = figure_kind(path)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=160)
    write_bytes(path, buffer.getvalue())


def figure_kind(path: str | Path) -> str:
    """The format that a file's suffix asks for.

    Raises
    ------
    GraphpruneError
        It is none of the known ones.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise GraphpruneError(f"{path}: figures are written as {', '.join(FORMATS)}")
    return kind


def histogram_figure(records: Sequence[AnchorRecord]) -> "Figure | None":
    """Counts of anchors by what is proven and by their closest point; None for fewer than two."""
    ends = [record.ends for record in records if record.status == "ok"]
    lower = [low for low, _ in ends if low > 0]
    upper = [high for _, high in ends if isfinite(high)]
    if len(upper) < 2 and len(lower) < 2:
        return None
    figure, axes = _axes("distance", "anchors")
    end = max((*lower, *upper))
    edges = [end * k / BINS for k in range(BINS + 1)]
    axes.hist(upper, edges, color=COLOURS[1], alpha=0.55, label="closest point known")
    axes.hist(lower, edges, histtype="step", color=COLOURS[0], lw=1.6, label="proven robust up to")
    axes.legend(frameon=False, labelcolor=INK)
    return figure


def duel_figure(found: Duel) -> "Figure":
    """Every common anchor: the intervals of two networks against each other."""
    figure, axes = _axes(*(f"distance, {name}" for name in found.names))
    finite = [v for side in found.ends for pair in side for v in pair if isfinite(v)]
    end = 1.05 * max(finite, default=1.0)
    axes.plot([0, end], [0, end], color=INK, lw=0.8, ls=":")
    for (left, right), (low, high) in zip(*found.ends, strict=True):
        right, high = min(right, end), min(high, end)
        x, y = 0.5 * (left + right), 0.5 * (low + high)
        axes.plot([left, right], [y, y], color=COLOURS[4], lw=0.8)
        axes.plot([x, x], [low, high], color=COLOURS[4], lw=0.8)
        axes.plot(x, y, "o", ms=4, color=COLOURS[0])
    axes.set(xlim=(0, end), ylim=(0, end), aspect="equal")
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_parse_math(False)
    return figure


def _axes(x: str, y: str) -> "tuple[Figure, Axes]":
    """An empty figure as wide as a page's, in the page's ink."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    _ink(axes)
    return figure, axes


def _ink(axes: "Axes") -> None:
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)
    axes.grid(alpha=0.25)


def inline_svg(figure: "Figure", title: str) -> str:
    """A figure for an HTML page: text in the page's ink and font, described for readers."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
