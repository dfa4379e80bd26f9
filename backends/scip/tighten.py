"""Pre-activation bounds of a target's program by linear programs (OBBT), safe from their duals.

They hold for the points with this target's margin <= 0 below the cutoff only, which are all that
its program is about. Layers are tightened in graph order, each with what the ones before gained.
"""

from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.condensed import Condensed
from graphprune.backends.scip.formulate import formulate
from graphprune.backends.scip.relaxation import ProgramRelaxation
from graphprune.backends.scip.scaling import scaled, units
from graphprune.region import Ball

Floats = NDArray[np.float64]


# A bound is attained within this share of the width.
NEAR = 0.05


@dataclass(frozen=True, eq=False)
class TightenedTarget:
    """A target's network with tighter bounds.

    Attributes
    ----------
    condensed
        ReluVariables whose sign is settled stay rows.
    radius
        Certified: nothing adversarial of this target is nearer; the ball's own radius where the
        target is excluded.
    """

    condensed: Condensed
    radius: float


def root_bound(condensed: Condensed, ball: Ball, row: Floats, deadline: float) -> float:
    """The distance to a target that its linear relaxation proves, certified."""
    program = scaled(formulate(condensed, ball, row, encoding="big-m"))
    radius = np.zeros(len(program.lower))
    radius[0] = 1.0
    return min(ball.radius, max(0.0, ProgramRelaxation(program).minimise(radius, deadline)))


def tighten(condensed: Condensed, ball: Ball, row: Floats, deadline: float) -> TightenedTarget:
    """One round over the layers that read others, as far as the time allows.

    Those that read the input alone know their bounds on the ball, and the margin hardly cuts it.
    """
    for number, layer in enumerate(condensed.layers):
        if monotonic() > deadline:
            break
        if np.all(layer.rows.indices < condensed.inputs):
            continue
        program = formulate(condensed, ball, row, encoding="big-m")
        relaxation, unit = ProgramRelaxation(scaled(program), radius=False), units(program)
        lower, upper = layer.lower.copy(), layer.upper.copy()
        z = program.layers[number].z
        # A bound that some point attains cannot be tightened.
        attained = {sign: np.zeros(len(z), bool) for sign in (1.0, -1.0)}
        near = NEAR * (upper - lower)
        for i, variable in enumerate(z):
            for sign in (1.0, -1.0):
                if attained[sign][i]:
                    continue
                cost = np.zeros(len(program.lower))
                cost[variable] = sign
                bound = unit[variable] * relaxation.minimise(cost, deadline)
                if sign > 0:
                    lower[i] = max(lower[i], bound)
                else:
                    upper[i] = min(upper[i], -bound)
                if relaxation.point is not None:
                    at = unit[z] * relaxation.point[z]
                    attained[1.0] |= at <= layer.lower + near
                    attained[-1.0] |= at >= layer.upper - near
            if lower[i] > upper[i]:
                return TightenedTarget(condensed, ball.radius)
        layers = list(condensed.layers)
        layers[number] = replace(layer, lower=lower, upper=upper)
        condensed = replace(condensed, layers=tuple(layers))
    return TightenedTarget(condensed, root_bound(condensed, ball, row, deadline))
