"""Tuning constants of the search, each with its reason; none of them changes what is true.

Figures are from `benchmarks/exact.py --ablate` on the shipped networks.
"""

from dataclasses import dataclass, field

import numpy as np

from graphprune.backends.relaxation.branching import BranchingRule
from graphprune.backends.relaxation.tighten import ConstrainedSettings, LateLayerSettings
from graphprune.backends.search.branching import StrongBranching


@dataclass(frozen=True)
class TreeSettings:
    """Constants of one tree.

    Attributes
    ----------
    rule
        Chooses the neuron to split.
    steps
        Optimiser steps at a node: a child starts from its parent's parameters.
    primal_growth
        The primal heuristic is run at the first node, and whenever the tree has grown by this
        factor.
    depth_first
        Share of the memory limit from which on a tree goes depth first; the rest is for the nodes
        that it needs to be as deep as it gets.
    refresh_splits, refresh_neurons
        Splits after which a node's bounds and box are computed anew, per 32 neurons: the cost of
        that grows with their square, a node's with their number. Never with more neurons than
        `refresh_neurons`: a round costs as much as hundreds of nodes there, and closes few.
    lp_splits, most_lp_splits
        Splits after which a node gets a linear program: at first, and at most, as it becomes more
        often where it closes nodes and less often where it does not.
    lp_share
        No program before one in so many neurons is split: the ascent does as well there.
    lp_first
        Programs come before a node's ascent, at every `lp_splits` splits: their points may be
        adversarial, which is worth their time where no upper bound is known.
    by_bound
        Nodes are taken with the least bound first, not with the least proven radius.
    """

    rule: BranchingRule = field(default_factory=StrongBranching)
    steps: int = 4
    primal_growth: int = 4
    depth_first: float = 0.9
    refresh_splits: int = 4
    refresh_neurons: int = 128
    lp_splits: int = 4
    most_lp_splits: int = 64
    lp_share: int = 8
    lp_first: bool = False
    by_bound: bool = False


@dataclass(frozen=True)
class EffortLevel:
    """Effort of one tree of a radius step.

    Attributes
    ----------
    nodes
        Nodes per open target after which the next level is tried.
    cuts
        Rounds of cuts at a root.
    constrained
        Roots get output-constrained bounds; those with few neurons get them at every level.
    """

    nodes: float
    cuts: int = 0
    constrained: bool = False


@dataclass(frozen=True)
class StepSettings:
    """Constants of one radius step.

    Attributes
    ----------
    levels
        Tried one after the other; from the second one on late layers are tightened.
    few
        So few neurons are bounded under the output constraint at once: it costs next to nothing.
    rounds_few, rounds_many
        Rounds of output-constrained bounds at a root with few neurons, and with many.
    constrained
        Constants of these bounds.
    clipped
        From the second level on, so many neurons' bounds are clipped in every node, those that cost
        a root's bound most: each takes some 1,500 multiplications a node.
    look
        Nodes between two looks at the interval.
    tries, nodes_per_try
        The primal heuristic may run so often without finding a closer point, and once more per so
        many nodes: every target of every radius step asks for it anew.
    late
        Constants of the late layers' bounds.
    wide
        From so many unstable neurons on, an attempt looks at the margins before it condenses the
        network: on CIFAR networks that takes seconds.
    promising
        The share of what an attempt asks of the roots that the margins must let expect.
    """

    levels: tuple[EffortLevel, ...] = (
        EffortLevel(60),
        EffortLevel(400, cuts=40),
        EffortLevel(3000, cuts=80, constrained=True),
        EffortLevel(np.inf, cuts=120, constrained=True),
    )
    few: int = 64
    rounds_few: int = 4
    rounds_many: int = 2
    constrained: ConstrainedSettings = field(default_factory=ConstrainedSettings)
    clipped: int = 384
    look: int = 32
    tries: int = 24
    nodes_per_try: int = 256
    late: LateLayerSettings = field(default_factory=LateLayerSettings)
    wide: int = 512
    promising: float = 0.7

    @property
    def last(self) -> int:
        """The last level."""
        return len(self.levels) - 1


@dataclass(frozen=True)
class ScheduleSettings:
    """Constants of the radius schedule.

    Attributes
    ----------
    closing
        The first attempt, at the closing radius, goes on where the roots prove this share of it.
    shares
        Radii as shares of the closing one, while they are easy. Their distances shrink because
        trees grow with the radius.
    wide, promising
        With more unstable neurons than this, such a radius is an attempt, which goes on where the
        roots prove this share of it.
    easy
        A step that took at most this many nodes was easy: the next share is skipped.
    slow
        Seconds from which on the next radius is chosen by what it should cost.
    nearest
        Attempts end where what is proven and what failed are this share of the closing radius
        apart.
    tenfold
        Trees grow tenfold over this share of the radius.
    budget
        The share of the time that is left after its roots that a step's trees should take.
    limit
        The share of the time left after which a step is given up, and a smaller one taken.
    smallest, largest
        Shares of the closing radius that a step adds.
    few
        So few unstable neurons are solved to the absolute tolerance: it costs nothing.
    growth
        Without an upper bound, radii grow by this factor.
    """

    closing: float = 0.85
    shares: tuple[float, ...] = (0.6, 0.75, 0.84, 0.9, 0.94, 0.97, 0.985, 1.0)
    wide: int = 512
    promising: float = 0.25
    easy: int = 40
    slow: float = 1.0
    nearest: float = 0.03
    tenfold: float = 0.04
    budget: float = 0.5
    limit: float = 0.8
    smallest: float = 0.008
    largest: float = 0.06
    few: int = 12
    growth: float = 1.3


@dataclass(frozen=True)
class SearchSettings:
    """Constants of the whole search."""

    schedule: ScheduleSettings = ScheduleSettings()
    step: StepSettings = StepSettings()
    tree: TreeSettings = field(default_factory=TreeSettings)


DEFAULT = SearchSettings()
