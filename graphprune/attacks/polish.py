"""Polishing: from an adversarial point down to a local minimum of the distance.

Around the current point the margin is an affine function (its activation pattern continued) plus
one hinge per neuron that the step takes across its hinge. Neurons whose crossing raises the margin
(weight w > 0) enter the program as w max(0, -side z), which is exact; those whose crossing lowers
it are left out, so that the model stays an upper bound and the step may pass through them. Hinges
are added lazily: few of thousands of neurons are ever near their hinge. Weights and rows are those
of the current pattern, so crossings of several layers at once are only modelled to first order:
hence a trust region, and the network itself is asked about every point (sequential linear or, in
l2, quadratic programming). The current point stays feasible in every program, and only better
points are taken.
"""

from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.confirm import Witness, closest_on_ray
from graphprune.attacks.linearisation import Linearisation
from graphprune.attacks.nearest_point import Program, program
from graphprune.attacks.problem import AttackProblem
from graphprune.ir import Query
from graphprune.runtime.session import compile_seconds

Floats = NDArray[np.float64]

# Linearisations per call of `descend`.
ROUNDS = 30
# Hinges added per layer after one solve: the ones that cost most.
HINGES = 40
# Solves per linearisation.
SOLVES = 60
# A hinge matters when it moves the boundary by more than this share of the distance; `COARSE`
# where a point is only to show what it is worth (half the time).
NEGLIGIBLE, COARSE = 1e-4, 1e-3
# The trust region at the start, and the one at which there is nothing left to gain, as shares of
# the distance.
REGION, SMALLEST_REGION = 0.5, 2e-3
# Rows of nothing are not divided by it.
TINY = 1e-30
# A round that gains less than this share of the distance, in a region that is not held back by an
# earlier failure, is the last.
GAIN = 2e-4


def polish(
    query: Query,
    witness: Witness,
    *,
    rounds: int = ROUNDS,
    deadline: float = np.inf,
) -> Witness:
    """The end of a descent from an adversarial point, for the class that it is adversarial for.

    Parameters
    ----------
    rounds
        Linearisations at most.
    deadline
        On the clock of :func:`time.monotonic`.

    Returns
    -------
    Witness
        Never farther than `witness`, which is returned where nothing better is found.
    """
    problem = AttackProblem(query)
    step = witness.x.astype(np.float64).reshape(-1) - problem.start
    best = descend(problem, step, witness.target, rounds=rounds, deadline=deadline)
    x = problem.start + best
    found = closest_on_ray(query, x, witness.distance, deadline=deadline)
    return witness if found is None else found


def descend(
    problem: AttackProblem,
    step: Floats,
    target: int,
    *,
    rounds: int,
    negligible: float = NEGLIGIBLE,
    deadline: float = np.inf,
) -> Floats:
    """Shorten a step (n,) that is adversarial for `target`; by the float32 graph alone."""
    best = float(problem.lengths(step[None])[0])
    region = REGION * float(np.max(np.abs(step), initial=0.0))
    # A round compiles up to three graphs, and looks at the clock between them.
    apart = 2.0 * compile_seconds(problem.network)
    for _ in range(rounds):
        if best == 0.0 or monotonic() + apart >= deadline:
            break
        around = Linearisation(problem, step, target)
        if not around.usable or monotonic() >= deadline:
            break
        least = negligible * best * problem.norm.dual_length(around.gradient)
        goal = _propose(problem, around, best, region, least, deadline)
        if goal is None or monotonic() >= deadline:
            break
        expected = best - float(problem.lengths(goal[None])[0])
        if expected <= 1e-6 * best:
            break
        found = _search(problem, target, step, goal, best)
        gain = 0.0
        if found is not None:
            step = found
            shorter = float(problem.lengths(step[None])[0])
            gain, best = best - shorter, shorter
        if gain >= 0.75 * expected:
            region *= 2.0
        elif gain <= 0.25 * expected:
            region *= 0.3
        scale = float(np.max(np.abs(step), initial=0.0))
        if region < SMALLEST_REGION * scale or (0.0 < gain < GAIN * best):
            break
    return step


def _propose(
    problem: AttackProblem,
    around: Linearisation,
    best: float,
    region: float,
    least: float,
    deadline: float,
) -> Floats | None:
    """The shortest step in the trust region whose modelled margin is <= 0."""
    step = around.step
    lower = np.minimum(np.maximum(problem.lower, step - region), step)
    upper = np.maximum(np.minimum(problem.upper, step + region), step)
    constant = around.margin - float(around.gradient @ step)
    model = program(problem.norm, constant, around.gradient, lower, upper, best)
    if model is None:
        return None
    known = {i: np.zeros(len(k.z), dtype=bool) for i, k in around.pattern.items()}
    goal: Floats | None = None
    for _ in range(SOLVES):
        goal = model.solve()
        if goal is None or monotonic() >= deadline:
            break
        missing = _add_crossed(model, around, known, goal, least)
        if not model.advance(missing) and not missing:
            break
    return goal


def _add_crossed(
    model: Program,
    around: Linearisation,
    known: dict[int, NDArray[np.bool_]],
    goal: Floats,
    least: float,
) -> float:
    """Add the hinges that `goal` crosses at a cost above `least`; returns the cost of these."""
    added = 0.0
    for i, change in around.push(goal - around.step).items():
        layer = around.pattern[i]
        cost = -layer.side * (layer.z + change) * layer.weight
        cost[known[i] | (layer.weight <= 0)] = 0.0
        crossed = np.flatnonzero(cost > least)
        if len(crossed) == 0:
            continue
        crossed = crossed[np.argsort(-cost[crossed])[:HINGES]]
        added += float(cost[crossed].sum())
        known[i][crossed] = True
        side = layer.side[crossed]
        rows = around.rows(i, crossed)
        offsets = side * (layer.z[crossed] - rows @ around.step)
        # Rows whose largest element is one, for the same reason as the margin's unit.
        unit = np.maximum(np.max(np.abs(rows), axis=1), TINY)
        model.add((side / unit)[:, None] * rows, offsets / unit, layer.weight[crossed] * unit)
    return added


def _search(
    problem: AttackProblem, target: int, step: Floats, goal: Floats, best: float
) -> Floats | None:
    """The shortest adversarial step on rays between `step` and `goal`; None below `best`."""
    found: Floats | None = None
    fractions = np.array([1.0, 0.75, 0.5, 0.25])
    for rays in (fractions[:1], fractions[1:]):
        directions = step + rays[:, None] * (goal - step)
        sizes = np.maximum(problem.lengths(directions), 1e-30)  # a goal may be the anchor
        low, high = 2.0 * sizes - best, np.full(len(rays), best)
        for _ in range(2):
            # Lengths from where the model may be too careful by as much as it gains, to `best`.
            grid = low[:, None] + (high - low)[:, None] * (np.arange(8) / 8.0 + 1e-6)
            steps = problem.clip(
                ((grid / sizes[:, None])[:, :, None] * directions[:, None, :]).reshape(
                    -1, len(step)
                )
            )
            adversarial = problem.margins(steps, target) <= 0
            reached = np.where(adversarial, problem.lengths(steps), np.inf)
            first = int(np.argmin(reached))
            if not reached[first] < best:
                break
            found, best = steps[first], float(reached[first])
            ray, place = divmod(first, 8)
            directions, sizes = directions[ray : ray + 1], sizes[ray : ray + 1]
            high = grid[ray, place : place + 1]
            low = grid[ray, place - 1 : place] if place else 2.0 * low[ray : ray + 1] - high
        if found is not None:
            break
    return found
