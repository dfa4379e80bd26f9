"""Closer adversarial points from the minimisers of relaxations.

A minimiser is where a relaxation thinks the margin is least, or the boundary nearest. The network
itself mostly disagrees, but the boundary near there is one that descents from the anchor or from
random points may never have seen: the ray is followed past the minimiser to where it crosses the
boundary, and polished from there. The crossing may be far beyond the best point known, its polished
end not.
"""

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks import polish as attack_polish
from graphprune.attacks.problem import AttackProblem
from graphprune.backends.protocol import DistanceInterval

Floats = NDArray[np.float64]

# Where on the ray the boundary is looked for, as multiples of the way to the minimiser.
SCALES = np.linspace(0.94, 1.6, 23)
# An end must be nearer than the best point by this share to be offered.
NEARER = 1e-6


def search_near(interval: DistanceInterval, target: int, x: Floats, deadline: float) -> bool:
    """Follow the ray through `x` (flat) across the boundary to class `target`, and polish.

    Returns
    -------
    bool
        True when the interval took the end: the closest point so far.
    """
    problem = AttackProblem(interval.problem.query)
    steps = problem.clip(SCALES[:, None] * (x - problem.start))
    crossed = np.flatnonzero(problem.margins(steps, target) <= 0)
    if not len(crossed):
        return False
    end = attack_polish.descend(
        problem, steps[crossed[0]], target, rounds=attack_polish.ROUNDS, deadline=deadline
    )
    if problem.lengths(end[None])[0] >= interval.upper * (1.0 - NEARER):
        return False
    return interval.add_candidate(problem.start + end, deadline=deadline)
