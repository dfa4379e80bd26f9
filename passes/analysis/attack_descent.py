"""Minimum-norm descent: every target and start as one batch, down to the boundary.

The steps are those of :func:`attack_loop.descent`, and their state stays on the device: only the
best points come back.
"""

from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.onnxruntime import Resident, compiled
from graphprune.passes.analysis import attack_loop
from graphprune.passes.analysis.attack_local import Feeds, Indices, Question

Floats = NDArray[np.float64]

# Shares of the way to the projection of the first and of the last step.
FIRST, LAST = 0.7, 0.1
# Steps between looks at the clock.
PIECE = 10


def paces(iterations: int) -> NDArray[np.float32]:
    """Shares of the way to the projection: long steps first, then ever more careful ones."""
    turn = np.cos(np.linspace(0.0, np.pi, iterations))
    return (LAST + 0.5 * (FIRST - LAST) * (1.0 + turn)).astype(np.float32)


def descend(
    question: Question, steps: Floats, targets: Indices, iterations: int, deadline: float
) -> tuple[Floats, Floats]:
    """Shortest adversarial steps found from `steps` (N, n), each for its target.

    Returns
    -------
    steps, lengths
        (N, n) and (N,); infinite lengths where nothing adversarial was met.
    """
    network, norm = question.network, question.norm
    run = compiled(network, ("descent", norm), lambda: attack_loop.descent(network, norm))
    finish = compiled(network, ("rays", norm), lambda: attack_loop.rays(network, norm))
    held: Feeds = {**question.held, "rows": Resident.of(question.rows(targets))}
    step = best = Resident.of(steps.astype(np.float32))
    length = Resident.of(np.full((len(targets), 1), attack_loop.FAR, np.float32))
    shares = paces(iterations)
    for done in range(0, iterations, PIECE):
        piece = shares[done : done + PIECE]
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
