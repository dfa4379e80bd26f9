"""Draw the README's picture: one image, its closest adversarial point, and the interval in time.

python docs/picture.py docs/figures/distances.svg
"""

import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import graphprune as gp
from graphprune.progress import Interval
from graphprune.report.plots import COLOURS, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODELS = Path(__file__).parent.parent / "models"
MODEL, IMAGE, LIMIT = "mnist-a.onnx", 0, 60.0

Ends = list[tuple[float, float, float]]


def intervals(
    network: gp.Network, anchor: gp.Anchor, attack: gp.Attack, certificate: gp.Certificate
) -> tuple[gp.Distance, Ends]:
    """The distance, and (seconds, lower, upper) of the interval while it was sought."""
    start = monotonic()
    ends = [(0.0, certificate.radius, attack.distance)]

    def listen(message: str) -> None:
        if isinstance(message, Interval):
            ends.append((monotonic() - start, message.proven, message.known))

    found = gp.distance(
        network, anchor, known_attack=attack, known_certificate=certificate, time_limit=LIMIT,
        progress=listen,
    )  # fmt: skip
    last = found.upper if found.upper is not None else np.inf
    return found, [*ends, (monotonic() - start, found.lower, last)]


def show(axes: "Axes", image: np.ndarray, title: str) -> None:
    """One image in grey."""
    axes.imshow(image.reshape(28, 28), cmap="gray", vmin=0.0, vmax=1.0)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9, color=INK)


def picture() -> Figure:
    """The image and its closest adversarial point beside the interval in time."""
    network = gp.load(MODELS / MODEL)
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[IMAGE]
    attack = gp.attack(network, anchor)
    certificate = gp.certify(network, anchor, upper=attack.distance)
    found, ends = intervals(network, anchor, attack, certificate)
    if found.witness is None:
        raise ValueError("no adversarial point was found")
    figure = Figure(figsize=(8.4, 2.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 2.6))
    show(left, anchor.x, f"the image: {anchor.label}")
    show(middle, found.witness.x, f"{found.witness.distance:.4f} away: {found.witness.target}")
    time, lower, upper = (np.array(column) for column in zip(*ends, strict=True))
    right.fill_between(time, lower, upper, step="post", color=COLOURS[0], alpha=0.15, lw=0)
    right.step(time, upper, where="post", color=COLOURS[1], label="closest point found")
    right.step(time, lower, where="post", color=COLOURS[0], label="proven free of such points")
    for name, end, side in (("d_adv", attack.distance, 4), ("d_rob", certificate.radius, -10)):
        right.annotate(name, (0.0, end), (2, side), textcoords="offset points", fontsize=8)
    text = f"d_bnd in [{lower[-1]:.4f}, {upper[-1]:.4f}]"
    middle_of = (time[-1], (lower[-1] + upper[-1]) / 2)
    right.annotate(
        text, middle_of, (-6, -3), textcoords="offset points", fontsize=8, ha="right", color=INK
    )
    right.set_xlabel("seconds", fontsize=8, color=INK)
    right.set_ylabel("distance", fontsize=8, color=INK)
    right.set_ylim(0.9 * certificate.radius, 1.05 * attack.distance)
    right.tick_params(labelsize=8, colors=INK)
    right.spines[["top", "right"]].set_visible(False)
    right.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


if __name__ == "__main__":
    mpl.rcParams["svg.hashsalt"] = "graphprune"
    picture().savefig(sys.argv[1], metadata={"Date": None})
