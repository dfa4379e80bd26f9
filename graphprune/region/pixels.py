"""Whole numbers as points: one rule for every file format.

Bytes (0 to 255) are scaled to [0, 1] where the domain lies in [0, 1], and kept as they are where
the domain ends above 1. Anything else could mean both, and is refused.
"""

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import AnchorError
from graphprune.region.domain import Domain

Floats = NDArray[np.floating]

RULE = "whole numbers are divided by 255 for a domain within [0, 1], kept for one that ends above 1"


def as_floats(x: NDArray[np.generic], domain: Domain, name: str) -> Floats:
    """Points (N, ...) as float32 or float64.

    Parameters
    ----------
    x
        Numbers of a floating type, or integers of any width.
    name
        The file, for messages.

    Raises
    ------
    AnchorError
        Another type, or integers that this domain does not tell how to read.
    """
    if x.dtype in (np.float32, np.float64):
        return x.astype(x.dtype, copy=False)
    if x.dtype.kind not in "iu":
        raise AnchorError(
            f"{name}: points have type {x.dtype}; known are float32, float64 and integers"
        )
    low, high = domain.outermost
    if 1.0 < high < np.inf:
        exact = np.abs(x.astype(np.float64)).max(initial=0.0) <= 2.0**24
        return x.astype(np.float32 if exact else np.float64)
    bytes_ = x.dtype == np.uint8 or (x.min(initial=0) >= 0 and 1 < x.max(initial=0) <= 255)
    if low >= 0.0 and high <= 1.0 and bytes_:
        return np.asarray(x.astype(np.float32) / np.float32(255))
    raise AnchorError(
        f"{name}: points have type {x.dtype} and values from {x.min(initial=0)} to"
        f" {x.max(initial=0)}, which could be bytes to divide by 255 or the inputs themselves"
        f" ({RULE}): give them as float32, x / 255 or x as it is, or another --domain LO,HI"
    )
