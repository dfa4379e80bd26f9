"""What is done to the roots of a tree before it grows, one target at a time or side by side."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from graphprune.backends.protocol import Limits
from graphprune.backends.relaxation import tighten
from graphprune.backends.relaxation.cuts import with_planes
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.pool import Team
from graphprune.runtime.process import Helper

# Seconds to wait for messages at a time.
PAUSE = 0.2


@dataclass(frozen=True, eq=False)
class Root:
    """A target and what is to be done to it.

    Attributes
    ----------
    rounds
        Of output-constrained bounds.
    cuts
        Rounds of cuts.
    seconds
        For so long.
    """

    target: Subproblem
    rounds: int
    cuts: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Prepared:
    """A target that was prepared.

    Attributes
    ----------
    excluded
        Proven: nothing adversarial of this class on the ball. Where its `bound` says so too, its
        parameters are the proof.
    """

    target: Subproblem
    excluded: bool


def prepare(target: Subproblem, limits: Limits, rounds: int, cuts: int) -> Prepared:
    """Tighten a target's bounds under its output constraint, then fold cuts into planes."""
    excluded = False
    if rounds:
        target, excluded = tighten.constrain_root(target, limits, rounds)
    if cuts and not excluded:
        target, _ = with_planes(target, limits, cuts)
    return Prepared(target, excluded or target.bound > 0.0)


def prepare_all(
    targets: Sequence[Subproblem],
    limits: Limits,
    team: Team,
    rounds: int,
    cuts: int,
    tell: Callable[[], None],
) -> list[Prepared]:
    """`prepare` for every target, side by side where there are workers.

    Parameters
    ----------
    tell
        Called now and then.
    """
    found: dict[int, Prepared] = {}
    waiting = list(range(len(targets)))[::-1]

    def back(place: int, prepared: Prepared) -> None:
        found[place] = prepared

    def lend(helper: Helper, place: int) -> None:
        root = Root(targets[place], rounds, cuts, limits.remaining())
        lost = partial(waiting.append, place)
        team.lend(helper, "prepare", root, partial(back, place), lost)

    while (waiting or team.loans) and not (limits.over and team.loans):
        tell()
        idle = team.free() if len(waiting) + len(team.loans) > 1 else []
        for helper in idle:
            if waiting:
                lend(helper, waiting.pop())
        if team.loans:
            team.hear(PAUSE)
        else:
            place = waiting.pop()
            found[place] = prepare(targets[place], limits, rounds, cuts)
    team.recall()
    # Those that time was too short for are as they were.
    return [found.get(i, Prepared(target, False)) for i, target in enumerate(targets)]
