"""Points as PNG files, and the difference of two of them as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError, OutputError
from graphprune.ir.export import write_bytes
from graphprune.notebook import data_uri, png, shares, whole_image
from graphprune.region import Domain

Array = NDArray[Any]


def require_images(shape: tuple[int, ...], name: str) -> None:
    """Refuse points that cannot be shown as images.

    Raises
    ------
    GraphpruneError
        It says which shapes can.
    """
    if whole_image(np.zeros(shape)) is None:
        raise GraphpruneError(
            f"{name}: points of shape {shape} are no images: those are (height, width) of 4 and"
            " more, with 1 or 3 channels first or last"
        )


def image_bytes(x: Array, domain: Domain) -> bytes:
    """The PNG of a point that `require_images` accepts, in the 8 bits per value that PNG has.

    Parameters
    ----------
    domain
        Its ends are black and white; without them the least and greatest value are.
    """
    image = whole_image(x)
    assert image is not None
    low, high = domain.outermost if domain.bounded else (float(x.min()), float(x.max()))
    return png(shares(image.astype(np.float64), low, high))


def save_images(folder: str | Path, images: Sequence[tuple[str, Array]], domain: Domain) -> None:
    """Write points as ``NAME.png`` into a folder, which is made where it is missing.

    Raises
    ------
    OutputError
        The folder cannot be made, or a file not be written.
    """
    make_folder(folder)
    for name, x in images:
        write_bytes(Path(folder) / f"{name}.png", image_bytes(x, domain))


def make_folder(folder: str | Path) -> None:
    """Make a folder for images.

    Raises
    ------
    OutputError
        It cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot make the folder: {error.strerror}") from None


def difference(x: Array, y: Array) -> str:
    """Data URI of y - x: grey where equal, orange where raised, blue where lowered."""
    change = (y.astype(np.float64) - x).reshape(*x.shape[:2], -1).mean(axis=2)
    size = float(np.max(np.abs(change), initial=0.0)) or 1.0
    share = (change / size)[..., None]
    middle = np.array([0.96, 0.96, 0.96])
    raised, lowered = np.array([0.83, 0.37, 0.0]), np.array([0.0, 0.45, 0.7])
    end = np.where(share >= 0, raised, lowered)
    return data_uri(middle + np.abs(share) * (end - middle))
