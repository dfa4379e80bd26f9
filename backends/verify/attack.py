"""Projected gradient descent on the constraints' violation, for a counterexample."""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify.query import Counterexample, VerificationQuery
from graphprune.progress import Progress, quiet
from graphprune.runtime.gradient import scores_and_gradients

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

STEPS = 50
# Starts of one round over all polytopes, and the neurons that they may have together.
STARTS = 256
MEMORY = 1 << 21
# Candidates confirmed per step.
CONFIRMED = 4


def attack(
    query: VerificationQuery, rounds: int, *, starts: int = STARTS, seed: int = 0,
    progress: Progress = quiet,
) -> Counterexample | None:  # fmt: skip
    """Descend from random points of the box, for every polytope at once.

    The largest violated constraint of each point's polytope is what falls: signed gradient steps
    (Madry et al. 2018) that shrink from a quarter of the box to nothing. The first round
    includes the centre.

    Parameters
    ----------
    rounds
        Batches of starts; each is drawn anew.
    starts
        Per polytope, at most.
    """
    if query.polytopes == 0:
        return None
    rng = np.random.default_rng(seed)
    width = query.upper - query.lower
    middle = query.lower + 0.5 * width
    if np.any(np.diff(query.first) == 0):  # an empty conjunction: any point will do
        return query.confirm(middle[None])
    added = query.network.auxiliary_neurons * (not query.network.piecewise_linear)
    largest = max(query.network.neurons + added, len(width))
    affordable = min(STARTS, MEMORY // largest)
    per_polytope = min(starts, max(1, affordable // query.polytopes))
    for number in range(rounds):
        # Many polytopes: a random choice of them per round.
        chosen = rng.permutation(query.polytopes)[: max(1, affordable)]
        polytope = np.repeat(chosen, per_polytope)
        x = query.lower + width * rng.uniform(0, 1, (len(polytope), len(width)))
        if number == 0:
            x[::per_polytope] = middle
        found = _descend(query, x, polytope, progress=progress)
        if found is not None or not query.in_time:
            return found
    return None


def attack_from(query: VerificationQuery, points: Floats) -> Counterexample | None:
    """Descend from given points (N, inputs), each for every polytope, in small steps."""
    x = np.repeat(points, query.polytopes, axis=0)
    polytope = np.tile(np.arange(query.polytopes), len(points))
    return _descend(query, x, polytope, 0.05)


def _descend(
    query: VerificationQuery, x: Floats, polytope: Indices, first_step: float = 0.25,
    progress: Progress = quiet,
) -> Counterexample | None:  # fmt: skip
    network = query.network
    width = query.upper - query.lower
    worst = query.first[polytope]
    for number in range(STEPS):
        progress(f"attack from {len(x)} points, step {number + 1} of {STEPS}")
        points = query.inside(x)
        y, slope = scores_and_gradients(network, points, query.weights[worst])
        found = _confirm(query, x, y, polytope)
        if found is not None or not query.in_time:
            return found
        steepest = _largest(query, y, polytope)
        if np.any(steepest != worst):
            worst = steepest
            slope = scores_and_gradients(network, points, query.weights[worst])[1]
        step = first_step * (1.0 - number / STEPS)
        x = np.clip(x - step * width * np.sign(slope), query.lower, query.upper)
    return None


def _confirm(
    query: VerificationQuery, x: Floats, y: NDArray[np.floating], polytope: Indices
) -> Counterexample | None:
    """Confirm the deepest of the points that look unsafe."""
    value = query.violation(y)[np.arange(len(x)), polytope]
    hits = np.flatnonzero(value <= 0)
    return query.confirm(x[hits[np.argsort(value[hits])[:CONFIRMED]]]) if len(hits) else None


def _largest(query: VerificationQuery, y: NDArray[np.floating], polytope: Indices) -> Indices:
    """Per point, the largest constraint of its polytope."""
    excess = y.astype(np.float64) @ query.weights.T - query.limits
    member = np.arange(len(query.limits))
    inside = (member >= query.first[polytope][:, None]) & (
        member < query.first[polytope + 1][:, None]
    )
    largest: Indices = np.argmax(np.where(inside, excess, -np.inf), axis=1)
    return largest
