"""Minimum-norm descent: every target and start as one batch, down to the boundary.

The steps are those of :func:`attack_loop.descent`, and their state stays on the device: only the
best points come back.
"""

from dataclasses import replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.onnxruntime import Resident, compiled
from graphprune.ir import Norm
from graphprune.passes.analysis import attack_loop
from graphprune.passes.analysis.attack_local import Feeds, Indices, Question

Floats = NDArray[np.float64]

# Shares of the way to the projection of the first and of the last step.
FIRST: dict[Norm, float] = {"linf": 0.7, "l2": 0.7, "l1": 0.5}
LAST = 0.1
# In l1, where descents begin on the way to an end that was found in l2, and the share of the steps
# that each of the two gets: they are cheap.
BACK, SHARE = 0.7, 0.5
# Steps between looks at the clock, at most; fewer where they move more elements than this.
PIECE = 10
ELEMENTS = 1 << 23


def paces(norm: Norm, iterations: int) -> NDArray[np.float32]:
    """Shares of the way to the projection: long steps first, then ever more careful ones."""
    turn = np.cos(np.linspace(0.0, np.pi, iterations))
    return (LAST + 0.5 * (FIRST[norm] - LAST) * (1.0 + turn)).astype(np.float32)


def descend(
    question: Question, steps: Floats, targets: Indices, iterations: int, deadline: float
) -> tuple[Floats, Floats]:
    """Shortest adversarial steps found from `steps` (N, n), each for its target.

    Steps in l1 move few elements as far as they go, which from afar is a poor path: there, a
    descent in l2 goes first.

    Returns
    -------
    steps, lengths
        (N, n) and (N,); infinite lengths where nothing adversarial was met.
    """
    if question.norm != "l1":
        return walk(question, steps, targets, iterations, deadline)
    count = max(1, round(SHARE * iterations))
    round_steps, known = walk(replace(question, norm="l2"), steps, targets, count, deadline)
    sizes = np.where(np.isfinite(known), question.lengths(round_steps), np.inf)
    found, lengths = walk(question, BACK * round_steps, targets, count, deadline)
    shorter = lengths < sizes
    return np.where(shorter[:, None], found, round_steps), np.where(shorter, lengths, sizes)


def walk(
    question: Question, steps: Floats, targets: Indices, iterations: int, deadline: float
) -> tuple[Floats, Floats]:
    """`descend` in the question's norm alone."""
    network, norm = question.network, question.norm
    run = compiled(network, ("descent", norm), lambda: attack_loop.descent(network, norm))
    finish = compiled(network, ("rays", norm), lambda: attack_loop.rays(network, norm))
    held: Feeds = {**question.held, "rows": Resident.of(question.rows(targets))}
    step = best = Resident.of(steps.astype(np.float32))
    length = Resident.of(np.full((len(targets), 1), attack_loop.FAR, np.float32))
    shares = paces(norm, iterations)
    most = max(1, min(PIECE, ELEMENTS // max(steps.size, 1)))
    for done in range(0, iterations, most):
        piece = shares[done : done + most]
        trips = {"trips": np.array(len(piece)), "paces": piece}
        step, best, length = run.resident(
            {"step": step, "best": best, "length": length, **trips, **held}
        )
        if monotonic() >= deadline:
            break
    best, length = finish.resident({"step": step, "best": best, "length": length, **held})
    found = best.numpy().astype(np.float64)
    known = length.numpy()[:, 0] < attack_loop.FAR
    return found, np.where(known, question.lengths(found), np.inf)
