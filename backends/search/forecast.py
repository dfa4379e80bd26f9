"""Nodes that a tree is going to need, from dives into it.

A dive goes from an open node down to a closed one, at every split into one of the two children by
chance. With every node counted as many times as there are ways that lead elsewhere, dives estimate
the nodes below without bias (Knuth 1975, "Estimating the efficiency of backtrack programs"), and
well where they begin at many nodes: trees that go on from those of a smaller radius come out within
some tenths (`benchmarks/PERFORMANCE.md`). Nodes that a dive expands stay expanded: a forecast costs
next to nothing where the tree is finished afterwards.
"""

from collections.abc import Iterable, Sequence
from time import monotonic
from typing import NamedTuple

import numpy as np

from graphprune.backends.search.settings import EffortLevel, StepSettings
from graphprune.backends.search.tree import PointReceiver, Tree
from graphprune.runtime.resources import Resources

# Nodes of all dives of a forecast, times their number, after which no other one is begun.
LONG = 8


class Forecast(NamedTuple):
    """Nodes that are left, and the seconds that they should take."""

    nodes: float
    seconds: float


def forecast(
    tree: Tree, points: PointReceiver, dives: int, most: float = np.inf, seed: int = 0
) -> Forecast:
    """Estimate what a tree is going to need after what is expanded here.

    Parameters
    ----------
    dives
        Their number; a tree of fewer open nodes is expanded in its usual order first, by up to
        three times as many.
    most
        Nodes after which no other dive is begun.
    """
    start, before = monotonic(), tree.nodes
    while 0 < tree.waiting < dives and tree.nodes < before + 3 * dives and not tree.resources.over:
        tree.step(points)
    waiting, here, count, below = tree.waiting, tree.nodes, 0, 0.0
    rng = np.random.default_rng((seed, tree.nodes))
    starts = tree.take(dives, rng)
    while starts and not tree.resources.over and tree.nodes < before + most:
        count += 1
        weight, children = 1.0, tree.split(starts.pop(), points)
        while children and not tree.resources.over:
            weight *= len(children)
            node = children.pop(int(rng.integers(len(children))))
            tree.add(children)
            children = tree.split(node, points)
            below += weight
        tree.add(children)
    tree.add(starts)
    every = waiting * (1.0 + below / max(count, 1))
    left = max(every - (tree.nodes - here), 0.0) if tree.waiting else 0.0
    used = max(tree.nodes - before, 1)
    return Forecast(left, left * (monotonic() - start) / used)


class Outlook:
    """Forecasts of the trees of a radius step.

    Attributes
    ----------
    seconds
        By target.
    kept
        The same with planes, which trees without them tell little about.
    spent
        Seconds of the last forecasts whose trees are to be finished on the level that they are on:
        the others belong to what prepares their next level.
    total
        Seconds of all trees, on the levels that they are going to end on.
    hopeless
        That is longer than there is time, and not to be tried for all that.

    Parameters
    ----------
    patient
        Trees are gone through with, however long they should take.
    """

    def __init__(self, settings: StepSettings, *, patient: bool = False) -> None:
        self.settings = settings
        self.patient = patient
        self.seconds: dict[int, float] = {}
        self.kept: dict[int, float] = {}
        self.spent = 0.0
        self.total = 0.0
        self.hopeless = False

    def budgets(
        self, trees: Sequence[Tree], labels: Sequence[int], levels: Sequence[EffortLevel],
        ahead: Sequence[float], points: PointReceiver, resources: Resources, workers: int,
    ) -> list[float | None]:  # fmt: skip
        """Forecast the trees of some targets; return the nodes that each is to have.

        None: so many more than the level's are needed that the next level comes first.

        Parameters
        ----------
        trees
            The one that lacks least first: where that needs its next level, so do the others on
            its level, and dives into them would be for nothing.
        ahead
            Seconds that the next level's preparation takes, for every tree: it comes where the
            tree is worth it.
        """
        self.total, self.spent, found = 0.0, 0.0, list[float | None]()
        # The last one that needs its next level first: those after it lack more.
        beyond: tuple[EffortLevel, int] | None = None
        for tree, label, level, seconds in zip(trees, labels, levels, ahead, strict=True):
            start = monotonic()
            if beyond is not None and beyond[0] is level:
                found.append(None)
                self._take_over(label, beyond[1], level)
            else:
                found.append(self._budget(tree, label, level, points))
                beyond = (level, label) if found[-1] is None else beyond
            if found[-1] is not None:
                self.spent += monotonic() - start
            elif seconds <= self.settings.worth * self.kept[label]:
                self.total += seconds
        self.total /= max(workers, 1)
        self.hopeless = self._too_long(self.total, resources)
        return found

    def _too_long(self, seconds: float, resources: Resources) -> bool:
        return not self.patient and 0.0 < resources.remaining() < seconds

    def _budget(
        self, tree: Tree, label: int, level: EffortLevel, points: PointReceiver
    ) -> float | None:
        budget, dives = len(tree) + level.nodes, self.settings.dives
        found = forecast(tree, points, dives, min(max(level.nodes, dives), LONG * dives))
        self.seconds[label] = found.seconds
        self.kept[label] = (1.0 if level.cuts else level.kept) * found.seconds
        self.total += level.kept * found.seconds
        nodes = tree.nodes + found.nodes
        return None if nodes > self.settings.ahead * budget else max(budget, 2.0 * nodes)

    def _take_over(self, label: int, known: int, level: EffortLevel) -> None:
        """Take a target's tree for no smaller than that of one that lacks less."""
        self.seconds[label], self.kept[label] = self.seconds[known], self.kept[known]
        self.total += level.kept * self.seconds[known]

    def first_look(self, labels: Iterable[int]) -> float:
        """Return the seconds after which trees of some targets are to be forecast again."""
        return max(0.5 * sum(self.seconds.get(t, 0.0) for t in labels), self.settings.soon)

    def look_again(
        self, tree: Tree, spent: float, resources: Resources, points: PointReceiver
    ) -> float:
        """Forecast a tree once more after the seconds spent; return when to do so the next time."""
        found = forecast(tree, points, self.settings.dives, LONG * self.settings.dives)
        if self._too_long(found.seconds, resources):
            self.total, self.hopeless = spent + found.seconds, True
        return spent + max(0.5 * found.seconds, self.settings.soon)
