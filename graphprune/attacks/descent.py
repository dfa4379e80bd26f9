"""Minimum-norm descent: every target and start as one batch, down to the boundary.

The steps are those of :func:`step_graphs.descent`, and their state stays on the device: only the
best points come back.
"""

from dataclasses import replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks import step_graphs
from graphprune.attacks.problem import AttackProblem, Indices
from graphprune.region import Norm
from graphprune.runtime.session import Resident, compiled

Floats = NDArray[np.float64]
# The state of a descent, one row per start, by the names of the loop's inputs and outputs.
State = dict[str, Resident]

# Share of the way to the projection of the last step; the norm says that of the first.
LAST = 0.1
# Where descents begin on the way to an end that was found in a rounder norm, and the share of the
# steps that each of the two gets: they are cheap.
BACK, SHARE = 0.7, 0.5
# Steps between looks at the clock, at most.
PIECE = 10
# Steps after which only those go on that are at most this many times as long as the shortest
# adversarial one: what is farther then has never been seen to win.
AHEAD, BEHIND = 6, 1.25


def paces(norm: Norm, iterations: int) -> NDArray[np.float32]:
    """Shares of the way to the projection: long steps first, then ever more careful ones."""
    turn = np.cos(np.linspace(0.0, np.pi, iterations))
    return (LAST + 0.5 * (norm.pace - LAST) * (1.0 + turn)).astype(np.float32)


def descend(
    problem: AttackProblem, steps: Floats, targets: Indices, iterations: int, deadline: float
) -> tuple[Floats, Floats]:
    """Shortest adversarial steps found from `steps` (N, n), each for its target.

    Steps in l1 move few elements as far as they go, which from afar is a poor path: where the norm
    names a rounder one, a descent in that goes first.

    Returns
    -------
    steps, lengths
        (N, n) and (N,); infinite lengths where nothing adversarial was met.
    """
    rounder = problem.norm.rounder
    if rounder is None:
        return walk(problem, steps, targets, iterations, deadline)
    rounded = AttackProblem(replace(problem.query, norm=rounder))
    count = max(1, round(SHARE * iterations))
    round_steps, known = walk(rounded, steps, targets, count, deadline)
    sizes = np.where(np.isfinite(known), problem.lengths(round_steps), np.inf)
    found, lengths = walk(problem, BACK * round_steps, targets, count, deadline)
    shorter = lengths < sizes
    return np.where(shorter[:, None], found, round_steps), np.where(shorter, lengths, sizes)


def first_lengths(problem: AttackProblem, targets: Indices, deadline: float) -> Floats:
    """Lengths (N,) of the shortest steps to where the margins of targets vanish, were they linear
    as at the anchor; inf for those that time was too short for."""
    network, norm = problem.network, problem.norm
    run = compiled(network, ("descent", norm), lambda: step_graphs.descent(network, norm))
    count, lengths = step_graphs.rows_at_once(network), np.full(len(targets), np.inf)
    for start in range(0, len(targets), count):
        if start and monotonic() >= deadline:
            break
        part = slice(start, start + count)
        state = _begin(problem, np.zeros((len(targets[part]), problem.start.size)), targets[part])
        one = {"trips": np.array(1), "paces": np.ones(1, np.float32)}
        step = run.resident({**state, **one, **problem.held})[0]
        lengths[part] = problem.lengths(_wide(step))
    return lengths


def walk(
    problem: AttackProblem, steps: Floats, targets: Indices, iterations: int, deadline: float
) -> tuple[Floats, Floats]:
    """`descend` in the problem's norm alone, on very large networks a few rows after the other."""
    count = step_graphs.rows_at_once(problem.network)
    found, lengths = steps.copy(), np.full(len(steps), np.inf)
    for start in range(0, len(steps), count):
        if start and monotonic() >= deadline:
            break
        part = slice(start, start + count)
        found[part], lengths[part] = _walk(
            problem, steps[part], targets[part], iterations, deadline
        )
    return found, lengths


def _walk(
    problem: AttackProblem, steps: Floats, targets: Indices, iterations: int, deadline: float
) -> tuple[Floats, Floats]:
    """`walk` on rows that make one batch."""
    network, norm = problem.network, problem.norm
    run = compiled(network, ("descent", norm), lambda: step_graphs.descent(network, norm))
    shares = paces(norm, iterations)
    most = step_graphs.at_once(PIECE, len(steps), network)

    def advance(state: State, shares: NDArray[np.float32]) -> State:
        for done in range(0, len(shares), most):
            if monotonic() >= deadline:
                break
            piece = shares[done : done + most]
            trips = {"trips": np.array(len(piece)), "paces": piece}
            step, best, length = run.resident({**state, **trips, **problem.held})
            state = state | {"step": step, "best": best, "length": length}
        return state

    state = advance(_begin(problem, steps, targets), shares[:AHEAD])
    found, sizes = _ends(problem, state)
    ahead = np.minimum(sizes, problem.lengths(_wide(state["step"]))) <= BEHIND * sizes.min()
    if not ahead.all():
        state = {name: Resident.of(value.numpy()[ahead]) for name, value in state.items()}
    state = advance(state, shares[AHEAD:])
    if monotonic() < deadline:  # rays take as long as several steps
        finish = compiled(network, ("rays", norm), lambda: step_graphs.rays(network, norm))
        best, length = finish.resident({**state, **problem.held})
        state = state | {"best": best, "length": length}
    found[ahead], sizes[ahead] = _ends(problem, state)
    return found, sizes


def _begin(problem: AttackProblem, steps: Floats, targets: Indices) -> State:
    """The state of descents that know nothing yet, at steps (N, n)."""
    step = Resident.of(steps.astype(np.float32))
    far = np.full((len(targets), 1), step_graphs.FAR, np.float32)
    rows = Resident.of(problem.rows(targets))
    return {"step": step, "best": step, "length": Resident.of(far), "rows": rows}


def _ends(problem: AttackProblem, state: State) -> tuple[Floats, Floats]:
    """The best steps (N, n) of a state and their lengths (N,), inf where there is none."""
    best, known = _wide(state["best"]), state["length"].numpy()[:, 0] < step_graphs.FAR
    return best, np.where(known, problem.lengths(best), np.inf)


def _wide(value: Resident) -> Floats:
    return value.numpy().astype(np.float64)
