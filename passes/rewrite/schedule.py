"""How many neurons are replaced at a time: shares of those still there, bounds in between.

Algorithm 1 of "Robustness Evaluation Using Local Substitute Networks", with the line and the rank
left open: in every round the `step`-quantile of the neurons still there goes, and the bounds of
the others are computed again with the lines in place.
"""

from collections.abc import Sequence
from time import monotonic

import numpy as np

from graphprune.errors import OutOfTimeError
from graphprune.passes.rewrite.lines import Make
from graphprune.passes.rewrite.ranks import Score
from graphprune.passes.rewrite.scene import Scene
from graphprune.progress import Progress, quiet
from graphprune.transforms.replace import Replacement


def replace_least(
    scene: Scene,
    layers: Sequence[int],
    line: Make,
    rank: Score,
    *,
    gamma: float,
    step: float,
    deadline: float = np.inf,
    progress: Progress = quiet,
) -> dict[int, Replacement]:
    """Replacements of the given activation layers: at least a share `gamma` of their neurons.

    A `step` above `gamma` is one round of `gamma`.

    Raises
    ------
    OutOfTimeError
        At the `deadline` (on the clock of :func:`time.monotonic`) rounds were left.
    """
    step = min(step, gamma)
    replaced = {i: Replacement.nothing(len(scene.alive(i))) for i in layers}
    total = rounds_of(gamma, step)
    for k in range(total if replaced else 0):
        if monotonic() >= deadline:
            raise OutOfTimeError(f"out of time after {k} of {total} rounds")
        bounds = scene.bounds(replaced)
        scores, lines, there = {}, {}, {}
        for i in replaced:
            lines[i] = line(scene, i, bounds[i])
            there[i] = scene.alive(i) & ~replaced[i].removed
            # What no line fits stays, but counts: the share is one of all neurons.
            score = rank(scene, i, bounds[i], lines[i])
            scores[i] = np.where(lines[i].fits, score, np.finfo(np.float64).max / 4)
        pool = np.concatenate([scores[i][there[i]] for i in replaced])
        if not pool.size:
            break
        threshold = np.quantile(pool, step)
        for i, old in replaced.items():
            least = there[i] & lines[i].fits & (scores[i] <= threshold)
            replaced[i] = old.with_lines(least, lines[i].slope, lines[i].offset)
        progress(f"substitute, round {k + 1}/{total}")
    return replaced


def rounds_of(gamma: float, step: float) -> int:
    """The smallest k >= 1 with (1 - step)^k <= 1 - gamma, as exact numbers would have it."""
    k = 1
    while (1 - step) ** k > 1 - gamma + 1e-12:
        k += 1
    return k
