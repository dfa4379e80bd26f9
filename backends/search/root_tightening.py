"""Root tightening: better bounds and planes before a tree is built, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from graphprune.backends.relaxation import tighten
from graphprune.backends.relaxation.cuts import with_planes
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.relaxation.tighten import CONSTRAINED, ConstrainedSettings
from graphprune.backends.search.worker_group import WorkerGroup
from graphprune.runtime.process import WorkerProcess
from graphprune.runtime.resources import Resources

# Seconds to wait for messages at a time.
PAUSE = 0.2


class RootEffort(NamedTuple):
    """Effort for one root.

    Attributes
    ----------
    rounds, cuts
        Rounds of output-constrained bounds, and of cuts.
    constrained
        Constants of the first.
    clipped
        Neurons whose bounds are clipped in every node of the tree.
    """

    rounds: int
    cuts: int
    constrained: ConstrainedSettings = CONSTRAINED
    clipped: int = 0


@dataclass(frozen=True, eq=False)
class RootTask:
    """A root to be tightened in so many seconds."""

    root: Subproblem
    effort: RootEffort
    seconds: float


@dataclass(frozen=True, eq=False)
class TightenedRoot:
    """A root that was tightened.

    Attributes
    ----------
    excluded
        Proven: nothing adversarial of this class on the ball. Where the root's bound says so too,
        its parameters are the proof.
    """

    root: Subproblem
    excluded: bool


def tighten_root(root: Subproblem, resources: Resources, effort: RootEffort) -> TightenedRoot:
    """Tighten a root's bounds under its output constraint, then fold cuts into planes."""
    excluded = False
    if effort.rounds:
        root, excluded = tighten.constrain_root(
            root, resources, effort.rounds, settings=effort.constrained
        )
    if effort.cuts and not excluded:
        root, _ = with_planes(root, resources, effort.cuts)
    if effort.clipped and not excluded and not root.bound > 0.0:
        root = tighten.with_input_rows(root, effort.clipped)
    return TightenedRoot(root, excluded or root.bound > 0.0)


def tighten_roots(
    roots: Sequence[Subproblem],
    resources: Resources,
    group: WorkerGroup,
    efforts: Sequence[RootEffort],
    report: Callable[[], None],
) -> list[TightenedRoot]:
    """Tighten every root, side by side where there are workers.

    Parameters
    ----------
    efforts
        One for every root.
    report
        Called now and then.
    """
    found: dict[int, TightenedRoot] = {}
    waiting = list(range(len(roots)))[::-1]

    def lend(worker: WorkerProcess, place: int) -> None:
        task = RootTask(roots[place], efforts[place], resources.remaining())
        back, lost = partial(found.__setitem__, place), partial(waiting.append, place)
        group.lend(worker, "tighten", task, back, lost)

    while (waiting or group.leases) and not (resources.over and group.leases):
        report()
        idle = group.free() if len(waiting) + len(group.leases) > 1 else []
        for worker in idle:
            if waiting:
                lend(worker, waiting.pop())
        if group.leases:
            group.hear(PAUSE)
        else:
            place = waiting.pop()
            found[place] = tighten_root(roots[place], resources, efforts[place])
    group.recall()
    # Those that time was too short for are as they were.
    return [found.get(i, TightenedRoot(root, False)) for i, root in enumerate(roots)]
