"""The schedule of replacing neurons: a share of those still there, bounds, the next share.

Algorithm 1 of "Robustness Evaluation Using Local Substitute Networks", with the line and the score
left open: in every round the `step`-quantile of the neurons still there goes, and the bounds of
the others are computed again with the lines in place.
"""

from collections.abc import Sequence

import numpy as np

from graphprune.errors import OutOfTimeError
from graphprune.runtime.resources import Resources
from graphprune.substitutes.context import LocalContext
from graphprune.substitutes.replacements import Make
from graphprune.substitutes.scores import Score
from graphprune.transforms.replace import Replacement

UNLIMITED = Resources()


def replace_least(
    context: LocalContext,
    layers: Sequence[int],
    line: Make,
    score: Score,
    *,
    gamma: float,
    step: float,
    resources: Resources = UNLIMITED,
) -> dict[int, Replacement]:
    """Replacements of the given activation layers: at least a share `gamma` of their neurons.

    A `step` above `gamma` is one round of `gamma`.

    Raises
    ------
    OutOfTimeError
        At the deadline rounds were left.
    """
    step = min(step, gamma)
    replaced = {i: Replacement.nothing(len(context.live(i))) for i in layers}
    total = rounds_of(gamma, step)
    for k in range(total if replaced else 0):
        if resources.over:
            raise OutOfTimeError(f"out of time after {k} of {total} rounds")
        bounds = context.bounds(replaced)
        scores, lines, there = {}, {}, {}
        for i in replaced:
            lines[i] = line(context, i, bounds[i])
            there[i] = context.live(i) & ~replaced[i].removed
            # A neuron that no line fits stays, but counts: the share is one of all neurons.
            own = score(context, i, bounds[i], lines[i])
            scores[i] = np.where(lines[i].fits, own, np.finfo(np.float64).max / 4)
        pool = np.concatenate([scores[i][there[i]] for i in replaced])
        if not pool.size:
            break
        threshold = np.quantile(pool, step)
        for i, old in replaced.items():
            least = there[i] & lines[i].fits & (scores[i] <= threshold)
            replaced[i] = old.with_lines(least, lines[i].slope, lines[i].offset)
        resources.progress(f"substitute, round {k + 1}/{total}")
    return replaced


def rounds_of(gamma: float, step: float) -> int:
    """The smallest k >= 1 with (1 - step)^k <= 1 - gamma, as exact numbers would have it."""
    k = 1
    while (1 - step) ** k > 1 - gamma + 1e-12:
        k += 1
    return k
