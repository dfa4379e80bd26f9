"""Counterexamples of `verify` as PNG."""

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphprune.backends.verify import Verdict
    from graphprune.ir import Network


def prepare_images(folder: str | None, network: "Network") -> None:
    """Say before the work that points are no images, or that the folder cannot be made."""
    if folder is not None:
        from graphprune.report.images import make_folder, require_images

        require_images(network.input_shape, f"--save-images {folder}")
        make_folder(folder)


def write_image(folder: str | None, prop: str, network: "Network", verdict: "Verdict") -> None:
    """Write the counterexample of a property file under the file's name."""
    if folder is None or verdict.point is None:
        return
    from graphprune.region import Domain
    from graphprune.report.images import save_images

    x = verdict.point.x.reshape(network.input_shape)
    # Pixels are shares or bytes; others go from black for the least to white for the greatest.
    inside = [high for high in (1.0, 255.0) if x.min() >= 0.0 and x.max() <= high]
    domain = Domain(0.0, inside[0]) if inside else Domain(-inf, inf)
    name = Path(prop).name.removesuffix(".gz").removesuffix(".vnnlib")
    save_images(folder, [(name, x)], domain)
