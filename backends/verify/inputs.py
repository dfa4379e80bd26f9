"""Input splitting: branch and bound over boxes of a low-dimensional input."""

import heapq
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.verify import kernels
from graphprune.backends.verify.attack import attack, attack_from
from graphprune.backends.verify.network_rows import rows_of
from graphprune.backends.verify.query import RegionResult, VerificationQuery
from graphprune.backends.verify.specifications import specifications_and_errors
from graphprune.ir import Network
from graphprune.ir.network import size
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


def box_kernels_fit(network: Network, memory: int) -> bool:
    """True where what the kernels hold of a box, a row of error terms per neuron, is small."""
    basis = size(network.input) + network.neurons + network.auxiliary_neurons
    return 8 * basis * basis <= memory // 4


def split_inputs(query: VerificationQuery, progress: Progress = quiet) -> RegionResult:
    """Decide a region by splitting its box, the box with the least violating point first.

    Neither `unsat` nor a point: the deadline has passed, or boxes too small to split are left.
    """
    rows = rows_of(query.network)
    specifications, error = specifications_and_errors(query, rows)
    workspace = kernels.box_workspace(rows, specifications)
    every = np.ones(query.polytopes, np.bool_)
    queue: list[tuple[float, int, Floats, Floats, NDArray[np.bool_]]] = [
        (-np.inf, 0, query.lower, query.upper, every)
    ]
    nodes, made, batch, next_attack = 0, 1, 1, 128
    complete = True
    began, attacking = monotonic(), 0.0
    while queue and query.in_time:
        count = min(batch, len(queue))
        picked = [heapq.heappop(queue) for _ in range(count)]
        boxes = kernels.box_batch(*(np.array([p[part] for p in picked]) for part in (2, 3, 4)))
        lower, upper, nearest, points = boxes.lower, boxes.upper, boxes.nearest, boxes.points
        start = monotonic()
        kernels.bound_boxes(rows, error, specifications, boxes, workspace)
        seconds = max(monotonic() - start, 1e-6)
        nodes += count
        batch = int(np.clip(count * BATCH_SECONDS / seconds, 1, min(2 * batch, LARGEST_BATCH)))
        if np.any(nearest <= 0.0):
            point = query.confirm(points[nearest <= 0.0])
            if point is not None:
                return RegionResult(False, point, nodes)
        # Infinite: excluded. Written so that NaN excludes nothing.
        left = np.flatnonzero(~(boxes.bound == np.inf))
        if len(left) and nodes >= next_attack:
            # The best points of boxes are good starts for a descent on the whole region.
            next_attack = 2 * nodes
            best = left[np.argsort(nearest[left], kind="stable")[:STARTS]]
            point = attack_from(query, points[best])
            if point is not None:
                return RegionResult(False, point, nodes)
        if len(left) and attacking < ATTACK_SHARE * (monotonic() - began):
            start = monotonic()
            point = attack(query, 1, seed=nodes)
            attacking += monotonic() - start
            if point is not None:
                return RegionResult(False, point, nodes)
        for b in left:
            i = int(boxes.dimension[b])
            if i < 0 or len(queue) >= MOST_OPEN:
                complete = False
                continue
            middle = 0.5 * lower[b, i] + 0.5 * upper[b, i]
            for half in (0, 1):
                low, high = lower[b].copy(), upper[b].copy()
                (high if half == 0 else low)[i] = middle
                heapq.heappush(queue, (float(nearest[b]), made, low, high, boxes.undecided[b]))
                made += 1
        progress(f"input splitting: {nodes} boxes bounded, {len(queue)} open")
    unsat = complete and not queue
    reason = "" if unsat or not query.in_time else "boxes too small to split stay undecided"
    return RegionResult(unsat, None, nodes, reason)
