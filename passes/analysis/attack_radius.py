"""PGD inside a search over the radius, as the paper's experiments have it.

PGD (Madry et al. 2018) with 100 steepest steps of radius / 50 from the anchor, all target classes
as one batch; the radius by bisection from 0.5 to a precision of 0.01.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.onnxruntime import compiled
from graphprune.passes.analysis.attack_local import Indices, Question
from graphprune.passes.analysis.attack_project import into_ball, steepest
from graphprune.passes.analysis.witness import Witness, confirm

Floats = NDArray[np.float64]

STEPS = 100
# Of the first radius, 0.5 in L-infinity.
PRECISION = 0.02


def bisect(question: Question, targets: Indices, in_time: Callable[[], bool]) -> Witness | None:
    """The closest point that PGD finds; None where it finds none in the whole domain.

    The radius is doubled while nothing is found, up to where the domain ends.
    """
    network, anchor, domain, norm = (
        question.network, question.anchor, question.domain, question.norm,
    )  # fmt: skip
    reach = domain.search_limit(anchor.x, norm)
    shape = network.input_shape
    first = min(0.5 if norm == "linf" or not domain.bounded else 0.5 * reach, reach)
    low, high, radius = 0.0, np.inf, first
    best: Witness | None = None
    while in_time() and radius > 0:
        steps = pgd(question, targets, radius, in_time)
        found = None
        if len(steps):
            points = (question.start + steps).reshape(-1, *shape)
            found = confirm(network, anchor, domain, points, norm)
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


def pgd(question: Question, targets: Indices, radius: float, in_time: Callable[[], bool]) -> Floats:
    """The first adversarial iterates (M, n) of a batch of one row per target; M may be 0."""
    network, norm = question.network, question.norm
    run = compiled(network, "gradient", lambda: transforms.gradient(network))
    rows, every = question.rows(targets), np.arange(len(targets))
    steps = np.zeros((len(targets), question.start.size))
    for _ in range(STEPS + 1):
        logits, gradient = run({"x": question.points(steps), "rows": rows})
        adversarial = logits[:, question.anchor.label] <= logits[every, targets]
        if adversarial.any() or not in_time():
            return steps[adversarial]
        direction = steepest(norm, gradient.reshape(steps.shape).astype(np.float64))
        steps = question.clip(into_ball(norm, steps + radius / 50 * direction, radius))
    return steps[:0]
