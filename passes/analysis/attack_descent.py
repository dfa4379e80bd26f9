"""Minimum-norm descent: every target and start as one batch, down to the boundary.

Each step linearises the margin, takes the shortest step from the anchor into the half-space where
it is <= 0 (the projection of DeepFool and FAB, the box of the domain included) and goes most of
the way there; in between, only points that the network calls adversarial count.
"""

from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.onnxruntime import compiled
from graphprune.passes.analysis.attack_local import Indices, Question
from graphprune.passes.analysis.attack_project import nearest

Floats = NDArray[np.float64]

# Share of the way to the projection, and how far beyond it while not yet adversarial.
PACE, OVERSHOOT = 0.5, 1.03
# Scales at which the ray through the last iterate is searched: the iterates converge to the
# boundary and need not cross it.
SCALES = np.concatenate([np.linspace(0.6, 1.2, 13), [1.3, 1.5, 2.0, 3.0, 5.0]])


def descend(
    question: Question, steps: Floats, targets: Indices, iterations: int, deadline: float
) -> tuple[Floats, Floats]:
    """Shortest adversarial steps found from `steps` (N, n), each for its target.

    Returns
    -------
    steps, lengths
        (N, n) and (N,); infinite lengths where nothing adversarial was met.
    """
    network, count = question.network, len(targets)
    run = compiled(network, "gradient", lambda: transforms.gradient(network))
    rows, every = question.rows(targets), np.arange(count)
    best, best_lengths = steps.copy(), np.full(count, np.inf)
    for _ in range(iterations):
        logits, gradient = run({"x": question.points(steps), "rows": rows})
        slopes = gradient.reshape(count, -1).astype(np.float64)
        margins = (logits[:, question.anchor.label] - logits[every, targets]).astype(np.float64)
        sizes = question.lengths(steps)
        better = (margins <= 0) & (sizes < best_lengths)
        best[better], best_lengths[better] = steps[better], sizes[better]
        if monotonic() >= deadline:
            break
        constants = margins - np.einsum("ij,ij->i", slopes, steps)
        goals = nearest(question.norm, constants, slopes, question.lower, question.upper)
        goals[~np.isfinite(goals).all(axis=1)] = 0.0
        pace = np.where(margins > 0, OVERSHOOT, 1.0)[:, None]
        steps = question.clip(pace * (PACE * goals + (1.0 - PACE) * steps))
    ends = np.where(np.isfinite(best_lengths)[:, None], best, steps)
    rays = question.clip((SCALES[:, None, None] * ends).reshape(-1, ends.shape[1]))
    adversarial = question.margins(rays, np.tile(targets, len(SCALES))) <= 0
    sizes = np.where(adversarial, question.lengths(rays), np.inf).reshape(len(SCALES), count)
    first = sizes.argmin(axis=0)
    better = sizes[first, every] < best_lengths
    best[better] = rays.reshape(len(SCALES), count, -1)[first, every][better]
    best_lengths[better] = sizes[first, every][better]
    return best, best_lengths
