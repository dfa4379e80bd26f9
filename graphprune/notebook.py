"""Pictures and small tables: what notebooks and reports show of a result."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Pictures are shown small: larger ones are thinned to this many pixels a side.
LARGEST = 64


def table(head: Sequence[object], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """An HTML table; everything is escaped."""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def shown(head: Sequence[object], row: Sequence[object], x: Array | None, caption: str = "") -> str:
    """A table of one row, with a point below it where that is an image.

    Parameters
    ----------
    x
        A point (*sample shape) of any numeric type; its least value is black, its greatest white,
        and where all lie in [0, 1], these are.
    """
    found = table(head, [row], caption)
    image = None if x is None or x.dtype.kind not in "fiu" else as_image(x)
    if image is None or not image.size or not np.all(np.isfinite(image)):
        return found
    low, high = float(image.min()), float(image.max())
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    style = "width:8em;image-rendering:pixelated"
    return f'{found}<img alt="the point" style="{style}" src="{picture(image, low, high)}">'


def as_image(x: Array) -> Array | None:
    """(H, W) or (H, W, 3) of a point that is an image, thinned; None where it is none."""
    image = whole_image(x)
    if image is None:
        return None
    step = -(-max(image.shape[:2]) // LARGEST)
    return image[::step, ::step]


def whole_image(x: Array) -> Array | None:
    """(H, W) or (H, W, 3) of a point that is an image; None where it is none."""
    if x.ndim == 3 and x.shape[0] in (1, 3):
        x = np.moveaxis(x, 0, -1)
    elif not (x.ndim == 2 or (x.ndim == 3 and x.shape[-1] in (1, 3))):
        return None
    if min(x.shape[:2]) < 4:
        return None
    return x[..., 0] if x.ndim == 3 and x.shape[-1] == 1 else x


def picture(x: Array, low: float, high: float) -> str:
    """Data URI of an image with values in [low, high]."""
    return data_uri(shares(x, low, high))


def shares(x: Array, low: float, high: float) -> Array:
    """Values in [low, high] as shares of the way."""
    width = high - low if high > low else 1.0
    found: Array = np.clip((x - low) / width, 0, 1)
    return found


def data_uri(values: Array) -> str:
    """Data URI of the PNG of an image with values in [0, 1]."""
    return "data:image/png;base64," + base64.b64encode(png(values)).decode()


def png(values: Array) -> bytes:
    """The PNG of an image with values in [0, 1]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((values * 255).round().astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
