"""Sums of squares and the like, which only the rounding of their bounds puts below 0.

A root of such a sum is defined wherever its argument can be; bounds of -1e-14 would refuse it.
"""

import numpy as np
from numpy.typing import NDArray

from graphprune.bounds.problem import BoundsProblem, LayerBounds
from graphprune.ir.network import activation_of
from graphprune.runtime.resources import current
from graphprune.transforms.matrix import matrices_fit, matrix_of


def not_below_zero(problem: BoundsProblem, index: int, layer: LayerBounds) -> LayerBounds:
    """The bounds of a pre-activation, 0 instead of less where none of its terms is negative.

    Only where the function that reads it begins at 0.
    """
    domain = getattr(activation_of(problem.network.activations[index]), "domain", None)
    if domain is None or domain[0] != 0.0 or not np.any(layer.lower < 0.0):
        return layer
    if not matrices_fit(problem.network, current().memory // 2):
        return layer
    known = _never_negative(problem, index)
    lower = np.where(known, np.maximum(layer.lower, np.float32(0.0)), layer.lower)
    return LayerBounds(lower, layer.upper, layer.magnitude)


def _never_negative(problem: BoundsProblem, index: int) -> NDArray[np.bool_]:
    """(B, n) True where weights, the offset and bounds of sources leave no negative term."""
    segment, matrix = problem.network.segments[index], matrix_of(problem.network, index)
    # A weight that equals its size is a sum in which nothing cancels.
    fits = (matrix.offset == matrix.offset_size)[None]
    for source, weight, size in zip(segment.sources, matrix.weights, matrix.sizes, strict=True):
        apart = abs(weight - size).sum(axis=1) > 0.0
        below = problem.source(source)[0] < 0.0
        reads = abs(weight) @ below.T.astype(np.float64)
        fits = fits & ~apart[None] & (reads.T == 0.0)
    return np.broadcast_to(fits, (problem.batch, fits.shape[1]))
