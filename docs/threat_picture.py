"""Draw the picture of docs/threats.md: the nearest adversarial image by several threat models.

python docs/threat_picture.py docs/figures/threats.svg
"""

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

import graphprune as gp
from graphprune.report.plots import INK

MODELS = Path(__file__).parent.parent / "models"
MODEL, IMAGE, LIMIT = "mnist-a.onnx", 0, 30.0
THREATS = ("patch", "mask{box=6,6,16,8}", "uniform", "brightness", "contrast")


def picture() -> Figure:
    """The image, and its closest adversarial point by every threat."""
    network = gp.load(MODELS / MODEL)
    anchor = gp.load_anchors(MODELS / "mnist-test-100.npz", network)[IMAGE]
    figure = Figure(figsize=(8.0, 2.0), layout="constrained")
    axes = figure.subplots(1, len(THREATS) + 1)
    shown = [(anchor.x, f"class {anchor.label}")]
    for threat in THREATS:
        found = gp.distance(network, anchor, threat=threat, time_limit=LIMIT)
        assert found.witness is not None
        lines = (threat.partition("{")[0], f"{found.upper:.4f}", f"class {found.witness.target}")
        shown.append((found.witness.x, "\n".join(lines)))
    for one, (image, title) in zip(axes, shown, strict=True):
        one.imshow(image.reshape(28, 28), cmap="gray", vmin=0.0, vmax=1.0)
        one.set_axis_off()
        one.set_title(title, fontsize=8, color=INK)
    return figure


if __name__ == "__main__":
    # The same file every time.
    mpl.rcParams["svg.hashsalt"] = "graphprune"
    picture().savefig(sys.argv[1], metadata={"Date": None})
