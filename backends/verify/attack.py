"""Looking for a counterexample by projected gradient descent on the constraints' violation."""

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.verify.problem import Counterexample, Problem
from graphprune.progress import Progress, quiet
from graphprune.runtime.session import compiled

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

STEPS = 50
# Starts of one round over all polytopes, and the neurons that they may have together.
STARTS = 256
MEMORY = 1 << 21
# Candidates confirmed per step.
CONFIRMED = 4


def attack(
    problem: Problem, rounds: int, *, starts: int = STARTS, seed: int = 0,
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
    if problem.polytopes == 0:
        return None
    rng = np.random.default_rng(seed)
    width = problem.upper - problem.lower
    middle = problem.lower + 0.5 * width
    if np.any(np.diff(problem.first) == 0):  # an empty conjunction: any point will do
        return problem.confirm(middle[None])
    largest = max(problem.network.neurons, len(width))
    affordable = min(STARTS, MEMORY // largest)
    per_polytope = min(starts, max(1, affordable // problem.polytopes))
    for number in range(rounds):
        # Many polytopes: a random choice of them per round.
        chosen = rng.permutation(problem.polytopes)[: max(1, affordable)]
        polytope = np.repeat(chosen, per_polytope)
        x = problem.lower + width * rng.uniform(0, 1, (len(polytope), len(width)))
        if number == 0:
            x[::per_polytope] = middle
        found = _descend(problem, x, polytope, progress=progress)
        if found is not None or not problem.in_time:
            return found
    return None


def attack_from(problem: Problem, points: Floats) -> Counterexample | None:
    """Descend from given points (N, inputs), each for every polytope, in small steps."""
    x = np.repeat(points, problem.polytopes, axis=0)
    polytope = np.tile(np.arange(problem.polytopes), len(points))
    return _descend(problem, x, polytope, 0.05)


def _descend(
    problem: Problem, x: Floats, polytope: Indices, first_step: float = 0.25,
    progress: Progress = quiet,
) -> Counterexample | None:  # fmt: skip
    network = problem.network
    run = compiled(network, "gradient", lambda: transforms.gradient(network))
    width = problem.upper - problem.lower
    worst = problem.first[polytope]
    for number in range(STEPS):
        progress(f"attack from {len(x)} points, step {number + 1} of {STEPS}")
        sample = problem.inside(x).astype(np.float32).reshape(len(x), *network.input_shape)

        def evaluate(
            rows: Indices, x: NDArray[np.float32] = sample
        ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
            y, slope = run({"x": x, "rows": problem.weights[rows].astype(np.float32)})
            return y, slope.reshape(len(x), -1)

        y, slope = evaluate(worst)
        found = _confirm(problem, x, y, polytope)
        if found is not None or not problem.in_time:
            return found
        steepest = _largest(problem, y, polytope)
        if np.any(steepest != worst):
            worst = steepest
            slope = evaluate(worst)[1]
        step = first_step * (1.0 - number / STEPS)
        x = np.clip(x - step * width * np.sign(slope), problem.lower, problem.upper)
    return None


def _confirm(
    problem: Problem, x: Floats, y: NDArray[np.floating], polytope: Indices
) -> Counterexample | None:
    """Confirm the deepest of the points that look unsafe."""
    value = problem.violation(y)[np.arange(len(x)), polytope]
    hits = np.flatnonzero(value <= 0)
    return problem.confirm(x[hits[np.argsort(value[hits])[:CONFIRMED]]]) if len(hits) else None


def _largest(problem: Problem, y: NDArray[np.floating], polytope: Indices) -> Indices:
    """Per point, the largest constraint of its polytope."""
    excess = y.astype(np.float64) @ problem.weights.T - problem.limits
    member = np.arange(len(problem.limits))
    inside = (member >= problem.first[polytope][:, None]) & (
        member < problem.first[polytope + 1][:, None]
    )
    largest: Indices = np.argmax(np.where(inside, excess, -np.inf), axis=1)
    return largest
