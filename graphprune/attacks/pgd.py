"""PGD inside a search over the radius, as the paper's experiments have it.

PGD (Madry et al. 2018) with 100 steepest steps of radius / 50 from the anchor, all target classes
as one batch; the radius by bisection from 0.5 to a precision of 0.01.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks import step_graphs
from graphprune.attacks.confirm import Witness, confirm
from graphprune.attacks.problem import AttackProblem, Feeds, Indices
from graphprune.runtime.session import Resident, compiled

Floats = NDArray[np.float64]

STEPS = 100
# Steps between looks at the clock, at most.
PIECE = 25
# The bisection ends at this share of the first radius, which is 0.5 in L-infinity.
PRECISION = 0.02


def bisect(problem: AttackProblem, targets: Indices, in_time: Callable[[], bool]) -> Witness | None:
    """The closest point that PGD finds; None where it finds none in the whole domain.

    The radius is doubled while nothing is found, up to where the domain ends.
    """
    query = problem.query
    domain, norm = query.domain, query.norm
    reach = domain.search_limit(query.anchor.x, norm)
    shape = query.network.input_shape
    first = min(0.5 if norm.separable or not domain.bounded else 0.5 * reach, reach)
    low, high, radius = 0.0, np.inf, first
    best: Witness | None = None
    while in_time() and radius > 0:
        steps = pgd(problem, targets, radius, in_time)
        points = (problem.start + steps).reshape(-1, *shape)
        found = confirm(query, points)
        if found is not None and found.distance < high:
            best, high = found, min(radius, found.distance)
        elif found is None:
            low = radius
        if best is None:
            if radius >= reach:
                break
            radius = min(2.0 * radius, reach)
            continue
        if high - low <= PRECISION * first:
            break
        radius = 0.5 * (low + high)
    return best


def pgd(
    problem: AttackProblem, targets: Indices, radius: float, in_time: Callable[[], bool]
) -> Floats:
    """The last iterates (N, n) of a batch of one row per target: those of the step at which one
    of them became adversarial, where one did."""
    network, norm = problem.network, problem.norm
    run = compiled(network, ("pgd", norm), lambda: step_graphs.pgd(network, norm))
    held: Feeds = {
        **problem.held,
        "rows": Resident.of(problem.rows(targets)),
        "radius": np.array([radius], np.float32),
        "pace": np.array([radius / 50], np.float32),
    }
    start = np.zeros((len(targets), problem.start.size), np.float32)
    step, most = Resident.of(start), step_graphs.at_once(PIECE, len(start), problem.network)
    for done in range(0, STEPS, most):
        trips = np.array(min(most, STEPS - done))
        (step,) = run.resident({"step": step, "trips": trips, **held})
        if not in_time():
            break
    return step.numpy().astype(np.float64)
