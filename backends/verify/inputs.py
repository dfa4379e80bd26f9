"""Input splitting: branch and bound over boxes of a low-dimensional input."""

import heapq
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify import kernels
from graphprune.backends.verify.attack import attack, attack_from
from graphprune.backends.verify.goals import goals_and_errors
from graphprune.backends.verify.problem import Problem, Proof
from graphprune.backends.verify.rows import rows_of
from graphprune.progress import Progress, quiet

Floats = NDArray[np.float64]

# Seconds of one batch: how closely the clock is watched.
BATCH_SECONDS = 0.1
LARGEST_BATCH = 1024
# Open boxes kept at most; the search gives up (unknown) beyond.
MOST_OPEN = 2_000_000
# Boxes whose best points an attack starts from.
STARTS = 64
# The share of the time that descents from random points of the whole region have: counterexamples
# can be smaller than what any order of boxes leads to soon.
ATTACK_SHARE = 0.2


def split_inputs(problem: Problem, progress: Progress = quiet) -> Proof:
    """Decide a region by splitting its box, the box with the least violating point first.

    Neither `unsat` nor a point: the deadline has passed, or boxes too small to split are left.
    """
    rows = rows_of(problem.network)
    goals, error = goals_and_errors(problem, rows)
    work = kernels.work(rows)
    every = np.ones(problem.polytopes, np.bool_)
    queue: list[tuple[float, int, Floats, Floats, NDArray[np.bool_]]] = [
        (-np.inf, 0, problem.lower, problem.upper, every)
    ]
    nodes, made, batch, next_attack = 0, 1, 1, 128
    complete = True
    began, attacking = monotonic(), 0.0
    while queue and problem.in_time:
        count = min(batch, len(queue))
        picked = [heapq.heappop(queue) for _ in range(count)]
        lower, upper = np.array([p[2] for p in picked]), np.array([p[3] for p in picked])
        still_open = np.array([p[4] for p in picked])
        bound, dimension = np.empty(count), np.empty(count, np.int64)
        nearest, points = np.full(count, np.inf), np.empty_like(lower)
        start = monotonic()
        kernels.bound_boxes(
            rows, error, goals, lower, upper, still_open, work, bound, dimension, nearest, points
        )
        seconds = max(monotonic() - start, 1e-6)
        nodes += count
        batch = int(np.clip(count * BATCH_SECONDS / seconds, 1, min(2 * batch, LARGEST_BATCH)))
        if np.any(nearest <= 0.0):
            point = problem.confirm(points[nearest <= 0.0])
            if point is not None:
                return Proof(False, point, nodes)
        # Infinite: excluded. Written so that NaN excludes nothing.
        left = np.flatnonzero(~(bound == np.inf))
        if len(left) and nodes >= next_attack:
            # The best points of boxes are good starts for a descent on the whole region.
            next_attack = 2 * nodes
            best = left[np.argsort(nearest[left], kind="stable")[:STARTS]]
            point = attack_from(problem, points[best])
            if point is not None:
                return Proof(False, point, nodes)
        if len(left) and attacking < ATTACK_SHARE * (monotonic() - began):
            start = monotonic()
            point = attack(problem, 1, seed=nodes)
            attacking += monotonic() - start
            if point is not None:
                return Proof(False, point, nodes)
        for b in left:
            i = int(dimension[b])
            if i < 0 or len(queue) >= MOST_OPEN:
                complete = False
                continue
            middle = 0.5 * lower[b, i] + 0.5 * upper[b, i]
            for half in (0, 1):
                low, high = lower[b].copy(), upper[b].copy()
                (high if half == 0 else low)[i] = middle
                heapq.heappush(queue, (float(nearest[b]), made, low, high, still_open[b]))
                made += 1
        progress(f"input splitting: {nodes} boxes bounded, {len(queue)} open")
    unsat = complete and not queue
    reason = "" if unsat or not problem.in_time else "boxes too small to split stay undecided"
    return Proof(unsat, None, nodes, reason)
