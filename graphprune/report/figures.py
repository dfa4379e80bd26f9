"""The paper's figures: toy decision regions, replacement functions, error against runtime."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.attack import attack
from graphprune.evaluate.distance import distance
from graphprune.evaluate.experiment import Measured
from graphprune.ir import Network
from graphprune.operators import Relu
from graphprune.pipeline import Pipeline
from graphprune.region import Anchor
from graphprune.report.plots import COLOURS, INK
from graphprune.runtime.original import run_original
from graphprune.substitutes.replacements import secant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Errors below this are drawn at it.
FLOOR = 1e-4
RESOLUTION = 101
MARKERS = ("s", "o", "^", "v", "D", "P", "X")


def regions_figure(network: Network, anchor: Anchor) -> "Figure":
    """Figure 1: decision regions of a 2-D classifier while its layers become secants.

    Above the whole plane with the square around the anchor, below that square with the segment
    to the closest adversarial point of each network.
    """
    from matplotlib.figure import Figure

    found = attack(network, anchor)
    if found.witness is None:
        raise ValueError("the anchor has no adversarial point")
    reach = 1.4 * found.witness.distance
    layers = len(network.source_activations)
    figure = Figure(figsize=(2.1 * (layers + 1), 4.6), layout="constrained")
    grid = figure.subplots(2, layers + 1)
    for number in range(layers + 1):
        text = f"linearize-secant{{layers={number}}}, fuse-affine"
        substitute = Pipeline.parse(text).run(network, anchor, facts=(found,)).network
        closest = distance(substitute, anchor, time_limit=60.0).witness
        if closest is None:
            raise ValueError(f"{text}: no adversarial point")
        removed = network.neurons - substitute.live_neurons
        share = 100.0 * removed / network.neurons
        x0 = anchor.x.reshape(-1)
        wide, near = grid[0][number], grid[1][number]
        _regions(wide, substitute, np.zeros(2), np.ones(2))
        low, high = np.maximum(x0 - reach, 0), np.minimum(x0 + reach, 1)
        _regions(near, substitute, low, high)
        wide.add_patch(_square(low, high))
        end = closest.x.reshape(-1)
        near.plot([x0[0], end[0]], [x0[1], end[1]], color=INK, lw=1.4)
        for axes in (wide, near):
            axes.plot(*x0, "o", color=INK, ms=4)
        wide.set_title(f"{share:.0f} % of the neurons removed", fontsize=8, color=INK)
        near.set_title(f"distance {anchor.distance(closest.x):.4f}", fontsize=8, color=INK)
    return figure


def _square(low: NDArray[Any], high: NDArray[Any]) -> Any:
    from matplotlib.patches import Rectangle

    width, height = high - low
    return Rectangle((low[0], low[1]), width, height, fill=False, color=INK, lw=0.9)


def _regions(
    axes: "Axes", network: Network, low: NDArray[np.floating], high: NDArray[np.floating]
) -> None:
    sides = [np.linspace(low[i], high[i], RESOLUTION) for i in range(2)]
    x, y = np.meshgrid(*sides)
    points = np.stack([x.ravel(), y.ravel()], axis=1).reshape(-1, *network.input_shape)
    logits = run_original(network, points.astype(np.float32)).astype(np.float64)
    # Regions of the largest logit: between two classes their difference changes sign.
    gap = (logits[:, 1] - logits[:, 0]).reshape(x.shape)
    axes.contourf(x, y, gap, levels=[-1e9, 0, 1e9], colors=[COLOURS[4], COLOURS[5]], alpha=0.45)
    axes.contour(x, y, gap, levels=[0], colors=[INK], linewidths=0.8)
    axes.set(xticks=[], yticks=[], aspect="equal")


def replacements_figure(z0: float = -0.6, z1: float = 1.1) -> "Figure":
    """Figure 2: what a ReLU is replaced by, and the line of least error between two bounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    z = np.linspace(-1.5, 1.5, 301)
    relu = np.maximum(z, 0.0)
    ends = np.array([z0, z1])
    slope, offset = (float(v[0]) for v in secant(ends[:1], ends[1:], Relu()))
    anchor = max(z0, 0.0)
    sampled = np.linspace(-1.2, 1.4, 101)
    step, rise = sampled - z0, np.maximum(sampled, 0.0) - anchor
    fitted = float(step @ rise / (step @ step))
    pictures = (
        ("constant: Algorithm 1", np.full_like(z, anchor), [z0]),
        ("secant: Algorithm 2, combined", slope * z + offset, [z0, z1]),
        ("least squares through x0", anchor + fitted * (z - z0), [z0]),
    )
    for axes, (title, line, kept) in zip(figure.subplots(1, 3), pictures, strict=True):
        axes.plot(z, relu, color=INK, lw=1.2, ls="--", label="ReLU")
        axes.plot(z, line, color=COLOURS[1], lw=1.8)
        axes.plot(kept, np.maximum(kept, 0), "o", color=COLOURS[0], ms=5)
        for point, name in zip(kept, ("x0", "x_adv"), strict=False):
            axes.annotate(name, (point, max(point, 0)), (4, -12), textcoords="offset points")
        axes.set_title(title, fontsize=9, color=INK)
        axes.set(xlim=(-1.5, 1.5), ylim=(-0.6, 1.5))
        axes.grid(alpha=0.25)
    return figure


def runtime_figure(panels: Sequence[Measured]) -> "Figure":
    """Figure 3: error against runtime, one panel per network."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = min(2, len(panels))
    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(5.4 * columns, 3.7 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    titles: dict[str, int] = {}
    for axes, panel in zip(grid, panels, strict=False):
        _panel(axes, panel, titles)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles = [
        Line2D([], [], color=_colour(n), marker=MARKERS[n % len(MARKERS)], label=title)
        for title, n in titles.items()
    ]
    handles.append(Line2D([], [], color=INK, ls="-", label="attack alone"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure


def _colour(number: int) -> str:
    return (*COLOURS, "#666666")[number % (len(COLOURS) + 1)]


def _near(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return all(0.8 < a / b < 1.25 for a, b in zip(first, second, strict=True))


def _panel(axes: "Axes", panel: Measured, titles: dict[str, int]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for share in (1.0, 0.5, 0.25, 0.1):
        axes.axvline(panel.seconds * share, color="#888888", lw=0.8, ls=":" if share < 1 else "-")
        axes.annotate(
            f"{100 * share:.0f} %", (panel.seconds * share, 1.0), (1, 1), fontsize=6,
            xycoords=("data", "axes fraction"), textcoords="offset points", color=INK,
        )  # fmt: skip
    axes.axhline(max(panel.attack.error, FLOOR), color=INK, lw=1.0)
    axes.plot(panel.attack.seconds, max(panel.attack.error, FLOOR), "*", color=INK, ms=9)
    for title in dict.fromkeys(p.curve for p in panel.points):
        number = titles.setdefault(title, len(titles))
        own = [p for p in panel.points if p.curve == title]
        x, y = [p.seconds for p in own], [max(p.error, FLOOR) for p in own]
        axes.plot(x, y, MARKERS[number % len(MARKERS)], color=_colour(number), ms=5)
        if title != "ours":  # its points are no steps of one path
            axes.plot(x, y, color=_colour(number), lw=0.8, alpha=0.6)
        labels: dict[tuple[float, float], list[str]] = {}
        for p, a, b in zip(own, x, y, strict=True):
            # Points on top of each other share a label.
            place = next((q for q in labels if _near(q, (a, b))), (a, b))
            labels.setdefault(place, []).append(p.label)
        for place, names in labels.items():
            axes.annotate(", ".join(names), place, (4, 3), textcoords="offset points", fontsize=6)
    axes.set(
        xscale="log", yscale="log", xlabel="processor seconds per anchor", ylabel="relative error"
    )
    # Labels of every unit step run into each other where an axis spans a decade or two.
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    note = f"{panel.anchors} anchors"
    if panel.exact < panel.anchors:
        note += f", {panel.exact} of them exact"
    axes.set_title(f"{panel.title} ({note})", fontsize=9, color=INK, pad=12)
    axes.grid(alpha=0.2)


def write_figures(
    panels: Sequence[Measured], toy: tuple[Network, Anchor] | None, folder: Path, kinds: list[str]
) -> list[Path]:
    """All figures of an experiment in the given formats; the files written."""
    import matplotlib as mpl

    from graphprune.report.plots import save_figure

    figures = {"figure-2": replacements_figure()}
    if toy is not None:
        figures["figure-1"] = regions_figure(*toy)
    for group in dict.fromkeys((p.plan["recipe"], p.domain) for p in panels):
        chosen = [p for p in panels if (p.plan["recipe"], p.domain) == group]
        figures[f"figure-3-{group[0]}-{group[1].replace(',', '-')}"] = runtime_figure(chosen)
    written = []
    # The same numbers give the same file.
    with mpl.rc_context({"svg.hashsalt": "graphprune", "svg.fonttype": "none"}):
        for name, figure in sorted(figures.items()):
            for kind in kinds:
                written.append(folder / f"{name}.{kind}")
                save_figure(figure, written[-1])
    return written
