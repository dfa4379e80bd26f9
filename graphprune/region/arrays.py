"""Arrays of whatever people hold their numbers in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import AnchorError


def as_array(values: Any) -> NDArray[Any]:
    """A NumPy array of an array, a list, or a PyTorch tensor on any device.

    Python's own floats become float64, as NumPy has it.

    Raises
    ------
    AnchorError
        Lists of different lengths, of which NumPy makes no array.
    """
    if hasattr(values, "detach"):  # a tensor that may be on a device, or carry a gradient
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise AnchorError(f"points and labels must be arrays of one shape each: {error}") from None
