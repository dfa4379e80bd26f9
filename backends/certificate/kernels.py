"""Parameters of a relaxation as the multipliers that a certificate holds.

A file keeps multipliers as float32. Rounding one changes the coefficients of all neurons below it,
whose multipliers must fit those, so a pass of its own rounds on the way down. Each is rounded
towards the side that costs the bound nothing: the checker's inequality takes any.
"""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.kernels import NetworkRelaxation, Parameters
from graphprune.backends.relaxation.kernels.neuron import relax_neuron
from graphprune.backends.relaxation.kernels.rows import add_row, add_row_and_plane
from graphprune.runtime.jit import kernel, kernel_part

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# Multipliers of cases without points grow without end.
LARGEST = 1e24


@kernel_part
def rounded_down(value: float) -> np.float32:
    """Return the largest float32 that is at most `value`."""
    single = np.float32(value)
    if single > value:
        single = np.nextafter(single, np.float32(-np.inf))
    return single


@kernel
def rounded_multipliers(
    relaxation: NetworkRelaxation,
    coefficients: Floats,
    parameters: Parameters,
    multipliers: Singles,
    plane_multipliers: Singles,
) -> None:
    """Set the multipliers of the rows and planes of one backward pass.

    Parameters
    ----------
    coefficients
        (basis,) of the specification, an assumed row's included; used up.
    """
    rows, planes, _ = relaxation
    n = rows.inputs
    for j in range(len(rows.offset) - 1, -1, -1):
        phase, slope = parameters.phases[j], parameters.slopes[j]
        low, high = rows.lower[j], rows.upper[j]
        c = coefficients[n + j]
        if c == 0.0 and phase == 0:
            multipliers[j] = plane_multipliers[j] = 0.0
            continue
        share = np.float32(0.0)
        if phase == 0 and planes.has[j] and c < 0.0:
            _, p, _ = relax_neuron(c, 0, slope, parameters.cut_weights[j], low, high)
            share = rounded_down(min(-p, LARGEST))
        plane_multipliers[j] = share
        # The plane has taken its part of the coefficient.
        c += share
        m, _, _ = relax_neuron(c, phase, slope, 0.0, low, high)
        m = min(max(m, -LARGEST), LARGEST)
        single = np.float32(m)
        if phase == 1 or (phase == 0 and c > 0.0):
            single = rounded_down(m)
        multipliers[j] = single
        if share != 0.0:
            add_row_and_plane(rows, planes, j, float(single), -float(share), coefficients)
        else:
            add_row(rows, j, float(single), coefficients)
