"""Draw the pictures of docs/threats.md: the nearest adversarial image by every threat model.

python docs/threat_picture.py docs/figures
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import graphprune as gp
from graphprune.report.plots import INK

MODELS = Path(__file__).parent.parent / "models"
MODEL, IMAGE, OTHER, LIMIT = "mnist-a.onnx", 0, 7, 30.0
# The threats of each picture; {folder} holds the files that they read.
_TWENTY = "+".join(str(28 * row + k) for row in (12, 13) for k in range(9, 19))
PICTURES = {
    "scale": ("scale{{by={folder}/ink.npy}}",),
    "parts": ("mask{{box=6,6,16,8}}", "patch", f"features{{{{only={_TWENTY}}}}}"),
    "whole": ("uniform", "brightness", "contrast"),
    "subspace": ("subspace{{file={folder}/means.npy}}",),
    "towards": ("blur{{sigma=3}}", "interpolate{{to={folder}/other.npy}}"),
}


def write_files(anchors: list[gp.Anchor], folder: Path) -> None:
    """Write weights, directions and the image that some of the threats are about.

    `ink.npy` lets dark pixels move a tenth as far as bright ones; `means.npy` holds the ways from
    the first image to the means of three classes.
    """
    first = anchors[IMAGE].x
    np.save(folder / "ink.npy", 0.1 + 0.9 * first)
    means = [
        np.mean([anchor.x for anchor in anchors if anchor.label == label], axis=0)
        for label in (2, 3, 9)
    ]
    np.save(folder / "means.npy", np.stack(means) - first)
    np.save(folder / "other.npy", anchors[OTHER].x)


def picture(network: gp.Network, anchor: gp.Anchor, threats: list[str]) -> Figure:
    """The image, and its closest adversarial point by each of the threats."""
    figure = Figure(figsize=(1.4 * (len(threats) + 1), 2.0), layout="constrained")
    axes = figure.subplots(1, len(threats) + 1)
    shown: list[tuple[NDArray[np.generic], str]] = [(anchor.x, f"class {anchor.label}")]
    for threat in threats:
        found = gp.distance(network, anchor, threat=threat, time_limit=LIMIT)
        name = threat.partition("{")[0]
        if found.witness is None:
            shown.append((anchor.x, f"{name}\nno point"))
            continue
        shown.append((found.witness.x, f"{name}\n{found.upper:.4f}\nclass {found.witness.target}"))
    for one, (image, title) in zip(axes, shown, strict=True):
        one.imshow(image.reshape(28, 28), cmap="gray", vmin=0.0, vmax=1.0)
        one.set_axis_off()
        one.set_title(title, fontsize=8, color=INK)
    return figure


def main(folder: Path) -> None:
    network = gp.load(MODELS / MODEL)
    anchors = gp.load_anchors(MODELS / "mnist-test-100.npz", network)
    # The same files every time.
    mpl.rcParams["svg.hashsalt"] = "graphprune"
    with TemporaryDirectory() as files:
        write_files(anchors, Path(files))
        for name, threats in PICTURES.items():
            specs = [threat.format(folder=files) for threat in threats]
            drawn = picture(network, anchors[IMAGE], specs)
            drawn.savefig(folder / f"threats-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
