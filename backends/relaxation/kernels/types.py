"""The arrays that the kernels read, and the phases of neurons."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNSPLIT, ACTIVE, INACTIVE = 0, 1, -1
# Where tightened bounds stop before 0: the lines of such a neuron are exact.
TINY = 1e-30


class Rows(NamedTuple):
    """The condensed network: neuron j's row is ``values[indptr[j]:indptr[j + 1]]``."""

    inputs: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Floats
    offset: Floats
    error: Floats
    lower: Floats
    upper: Floats
    layer: NDArray[np.int32]


class Planes(NamedTuple):
    """One more upper plane per neuron, on the support of its row; `has` 0: none."""

    has: NDArray[np.uint8]
    values: Floats
    offset: Floats
    error: Floats


class Region(NamedTuple):
    """The box of inputs, and the centre its radius is measured from."""

    lower: Floats
    upper: Floats
    center: Floats
    error: Floats


class Goal(NamedTuple):
    """What is bounded from below: row . v + offset, plus gamma (cut . v + cut_offset).

    Where cut . v + cut_offset <= 0 is known to hold (the margin, at an adversarial point), any
    gamma >= 0 gives a valid bound.
    """

    row: Floats
    offset: float
    error: float
    cut: Floats
    cut_offset: float
    cut_error: float
