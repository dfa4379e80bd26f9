"""Points as small PNG pictures inside a page."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Pictures are shown small: larger ones are thinned to this many pixels a side.
LARGEST = 64


def as_image(x: Array) -> Array | None:
    """(H, W) or (H, W, 3) of a point that is an image, thinned; None where it is none."""
    if x.ndim == 3 and x.shape[0] in (1, 3):
        x = np.moveaxis(x, 0, -1)
    elif not (x.ndim == 2 or (x.ndim == 3 and x.shape[-1] in (1, 3))):
        return None
    if min(x.shape[:2]) < 4:
        return None
    step = -(-max(x.shape[:2]) // LARGEST)
    x = x[::step, ::step]
    return x[..., 0] if x.ndim == 3 and x.shape[-1] == 1 else x


def picture(x: Array, low: float, high: float) -> str:
    """Data URI of an image with values in [low, high]."""
    width = high - low if high > low else 1.0
    return _png(np.clip((x - low) / width, 0, 1))


def difference(x: Array, y: Array) -> str:
    """Data URI of y - x: grey where equal, orange where raised, blue where lowered."""
    change = (y.astype(np.float64) - x).reshape(*x.shape[:2], -1).mean(axis=2)
    size = float(np.max(np.abs(change), initial=0.0)) or 1.0
    share = (change / size)[..., None]
    middle = np.array([0.96, 0.96, 0.96])
    raised, lowered = np.array([0.83, 0.37, 0.0]), np.array([0.0, 0.45, 0.7])
    end = np.where(share >= 0, raised, lowered)
    return _png(middle + np.abs(share) * (end - middle))


def _png(values: Array) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((values * 255).round().astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
