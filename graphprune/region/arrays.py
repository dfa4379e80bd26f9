"""Arrays of whatever people hold their numbers in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(values: Any) -> NDArray[Any]:
    """A NumPy array of an array, a list, or a PyTorch tensor on any device.

    Python's own floats become float64, as NumPy has it.
    """
    if hasattr(values, "detach"):  # a tensor that may be on a device, or carry a gradient
        values = values.detach().cpu()
    return np.asarray(values)
