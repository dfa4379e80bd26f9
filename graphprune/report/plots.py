"""Figures of a run by matplotlib: accuracy against the radius, for files and for pages."""

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from graphprune.errors import GraphpruneError
from graphprune.evaluate.archive import Evaluated
from graphprune.ir.export import write_bytes
from graphprune.report.curves import curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colour-blind safe (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
INK = "#1a1b1c"
FORMATS = ("svg", "png", "pdf")


def accuracy_figure(networks: Sequence[Evaluated]) -> "Figure":
    """Certified and attacked accuracy of every network, the gap between them shaded."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.subplots()
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
    axes.set(xlabel="radius", ylabel="share of anchors", ylim=(0, 1.02), xlim=(0, None))
    axes.set_title("solid: certified; dashed: not attacked; between: open", fontsize=9, color=INK)
    if len(networks) > 1:
        for text in axes.legend(frameon=False, labelcolor=INK).get_texts():
            text.set_parse_math(False)  # a name is a name, whatever signs it has
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(INK)
    axes.grid(alpha=0.25)
    return figure


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure as .svg, .png or .pdf, whole or not at all."""
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise GraphpruneError(f"{path}: figures are written as {', '.join(FORMATS)}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=160)
    write_bytes(path, buffer.getvalue())


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
