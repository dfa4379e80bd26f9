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
        The primal heuristic is run after so many nodes, and whenever the tree has grown by this
        factor: a small tree is finished sooner.
    depth_first
        Share of the memory limit from which on a tree goes depth first; the rest is for the nodes
        that it needs to be as deep as it gets.
    refresh_splits, refresh_share
        Splits after which a node's bounds and box are computed anew, per 32 neurons: the cost of
        that grows with their square, a node's with their number. All of it takes at most so many
        times what bounding nodes takes: a round may cost as much as hundreds of them.
    lp_splits, most_lp_splits
        Splits after which a node gets a linear program: at first, and at most, as it becomes more
        often where it closes nodes and less often where it does not.
    lp_share
        No program before one in so many neurons is split: the ascent does as well there.
    lp_most
        Programs that close nothing take at most so many times what bounding nodes takes.
    free
        With so few neurons neither new bounds nor programs are limited: they decide there.
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
    refresh_share: float = 0.5
    lp_splits: int = 4
    most_lp_splits: int = 64
    lp_share: int = 8
    lp_most: float = 0.5
    free: int = 64
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
    kept
        The part of a forecast on this level that a tree takes on those above.
    """

    nodes: float
    cuts: int = 0
    constrained: bool = False
    kept: float = 1.0


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
    worth
        Output-constrained bounds of more neurons, and late layers', may take this many times as
        long as the trees of their targets took so far, in this step or the last.
    dives, ahead, soon
        Dives of a forecast. Where a tree is forecast to need this many times the nodes of its
        level, the next level comes at once; where it takes longer than forecast, and than this many
        seconds, it is forecast again.
    look
        Nodes between two looks at the interval.
    primal_seconds, primal_share
        The primal heuristic may take so long, and that share of the time of the whole question:
        every target of every radius step asks for it anew.
    late
        Constants of the late layers' bounds.
    wide
        From so many unstable neurons on, an attempt looks at the margins before it condenses the
        network: on CIFAR networks that takes seconds.
    dear
        Where the roots of such an attempt took this share of the time left, it has trees whatever
        they prove: a few nodes may close what roots prove nothing of, in a part of their time.
    promising
        The share of what an attempt asks of the roots that the margins must let expect.
    optimised_steps, optimised_share
        From `wide` unstable neurons on, the lines of every neuron's bound are optimised by so many
        steps, for all targets together, in at most that share of the time left. More steps gain
        hardly anything; the bounds take as long as one or two targets' roots.
    """

    levels: tuple[EffortLevel, ...] = (
        EffortLevel(60, kept=0.02),
        EffortLevel(400, cuts=40, kept=0.3),
        EffortLevel(3000, cuts=80, constrained=True),
        EffortLevel(12000, cuts=120, constrained=True),
        EffortLevel(np.inf, cuts=120, constrained=True),
    )
    few: int = 64
    rounds_few: int = 4
    rounds_many: int = 2
    constrained: ConstrainedSettings = field(default_factory=ConstrainedSettings)
    clipped: int = 384
    worth: float = 1.0
    dives: int = 32
    ahead: float = 1.5
    soon: float = 0.3
    look: int = 32
    primal_seconds: float = 0.5
    primal_share: float = 0.1
    late: LateLayerSettings = field(default_factory=LateLayerSettings)
    wide: int = 512
    dear: float = 0.02
    promising: float = 0.7
    optimised_steps: int = 5
    optimised_share: float = 0.25

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
    slow, trial
        Seconds from which on the next radius is chosen by what it should cost; the share of the
        time left after which a step before that is given up.
    ahead
        The factor by which attempts go beyond what is proven, squared after one that succeeds, and
        so on: the certificates of wide networks are seldom doubled.
    dear, passes
        No other attempt follows one that failed and whose roots took this share of the time; or
        should have taken, at so many times what its margins took, where these ended it.
    nearest, low
        Attempts end where what is proven and what failed are apart by this share of what is proven;
        less than `low` of the closing radius counts as that.
    growth, slowest, floor, quick
        Trees grow tenfold over the inverse of this, as a share of the radius, until steps tell how
        they grow on the network at hand, never less than `slowest` in an estimate. A tree of less
        than `floor` seconds counts as that; steps of less than `quick` tell nothing.
    faster
        Trees of the next step grow by this factor faster than those of the last.
    kept, beyond
        The part of this guess that a complete step leaves; by what factor a step that was given up
        shows that trees grow faster.
    part, limit
        The share of the time that is left after its roots that a step's trees should take, and that
        after which they are given up, and a smaller step taken.
    all, worth
        The share that they take where another step could hardly follow: where `part` of the time
        would add less than `worth` of the closing radius.
    below
        The share of the way to the smallest radius that failed which a step goes at most.
    smallest, largest
        The least share of the closing radius that a step adds; the greatest one of what is proven.
    few
        So few unstable neurons are solved to the absolute tolerance: it costs nothing.
    factor, near
        Without an upper bound, radii grow by this factor; where the radius that is asked for is
        less than `near` times what is proven, that one is what is to be closed.
    """

    closing: float = 0.85
    shares: tuple[float, ...] = (0.6, 0.75, 0.84, 0.9, 0.94, 0.97, 0.985, 1.0)
    wide: int = 512
    promising: float = 0.25
    easy: int = 40
    slow: float = 1.0
    trial: float = 0.5
    ahead: float = 1.5
    dear: float = 0.15
    passes: float = 15.0
    nearest: float = 0.12
    low: float = 0.1
    growth: float = 25.0
    slowest: float = 12.0
    floor: float = 0.05
    quick: float = 0.2
    faster: float = 1.6
    kept: float = 0.5
    beyond: float = 1.2
    part: float = 0.12
    limit: float = 0.75
    all: float = 0.4
    worth: float = 0.01
    below: float = 0.7
    smallest: float = 0.004
    largest: float = 0.06
    few: int = 12
    factor: float = 1.3
    near: float = 3.0


@dataclass(frozen=True)
class SearchSettings:
    """Constants of the whole search."""

    schedule: ScheduleSettings = ScheduleSettings()
    step: StepSettings = StepSettings()
    tree: TreeSettings = field(default_factory=TreeSettings)


DEFAULT = SearchSettings()
