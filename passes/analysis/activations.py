"""Pre-activations at given points, recorded in float64."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.reference import forward64
from graphprune.ir import Network

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecordedActivations:
    """Annotation on a pre-activation value.

    Attributes
    ----------
    at_anchor
        Sample shape, at x0.
    at_adversarial
        Sample shape, at x_adv; None where no adversarial is known.
    """

    at_anchor: Floats
    at_adversarial: Floats | None


def record(network: Network, *points: NDArray[np.floating]) -> list[Floats]:
    """Pre-activations (len(points), neurons) of every activation layer, in graph order."""
    stacked = np.stack([np.asarray(p, dtype=np.float64) for p in points])
    return [z.reshape(len(points), -1) for z in forward64(network, stacked)[1:]]
