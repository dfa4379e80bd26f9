"""The cases of a tree expanded by several processes, a slice of time for a portion of them."""

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from graphprune.backends.protocol import Limits
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.node import TreeNode
from graphprune.backends.search.parcel import Growth, Paths, Portion, Way, pack, unpack
from graphprune.backends.search.pool import Team
from graphprune.backends.search.tree import PURSUIT, Points, Tree
from graphprune.runtime.process import Helper

# Cases per worker from which on a tree is worth sharing.
WORTH = 2
# Seconds of a slice; after which a worker is asked for cases while others have none.
SLICE, FAIR = 0.5, 0.1
# Seconds after which a worker is taken to hang and ended.
HANGING = 60.0
# Cases of a portion at most, and the share of those waiting that one worker gets.
PORTION, SHARE = 256, 2
# Seconds to wait for messages at a time.
PAUSE = 0.05


class Crew:
    """Expands a tree: in this process, and where it has grown, by the workers of a team.

    Parameters
    ----------
    roots
        The targets of the tree.
    """

    def __init__(
        self, tree: Tree, roots: Sequence[Subproblem], points: Points, limits: Limits, team: Team
    ) -> None:
        self.tree = tree
        self.roots = list(roots)
        self.points = points
        self.limits = limits
        self.team = team
        # Workers that have the targets.
        self.ready: set[Helper] = set()

    def work(self) -> None:
        """Expand a node here, or listen for a moment to those who do."""
        idle = self.team.free()
        tree = self.tree
        if not self.team.loans and (not idle or tree.waiting < WORTH * self.team.workers):
            tree.step(self.points)
            return
        tree.shrink(self.points.radius)
        for helper in idle:
            if tree.waiting:
                self._lend(helper)
        if not tree.waiting and self.team.free():
            self._ask()
        self.team.hear(PAUSE)

    def _ask(self) -> None:
        """Some have nothing to do: those who have had cases for a while give back what is left."""
        for loan in self.team.loans.values():
            age = monotonic() - loan.since
            if age > HANGING:
                loan.helper.kill()  # and is heard of
            elif age > FAIR and not loan.asked:
                loan.asked = True
                loan.helper.send("stop")

    def _lend(self, helper: Helper) -> None:
        tree, workers = self.tree, self.team.workers
        if helper not in self.ready:
            helper.send("roots", self.roots)
            self.ready.add(helper)
        share = -(-tree.waiting // (SHARE * workers))
        # Where memory is short, one case at a time: it is finished before another one is begun.
        ticket, nodes = tree.lend(1 if tree.deep else min(share, PORTION))
        ways: list[Way] = [(place, ()) for place in range(len(nodes))]
        portion = Portion(
            tree.ball.radius, SLICE, self.limits.remaining(),
            max(self.limits.memory - tree.bytes, 0) // workers, tree.trace is not None, tree.nodes,
            replace(tree.pace), pack(nodes, self.roots, ways),
        )  # fmt: skip

        def back(growth: Growth) -> None:
            self._settle(tree.give_back(ticket), growth)

        def lost() -> None:
            tree.add(tree.give_back(ticket))

        self.team.lend(helper, "grow", portion, back, lost, self.points)
        if tree.nodes >= tree.pace.pursuit:
            tree.pace.pursuit = PURSUIT * tree.nodes  # that is this worker's to do

    def _settle(self, lent: list[TreeNode], growth: Growth) -> None:
        """What became of lent cases takes their place."""
        tree = self.tree
        tree.shrink(growth.radius)
        paths = Paths([node.path for node in lent])
        tree.add(
            list(unpack(growth.open, self.roots, paths)),
            list(unpack(growth.settled, self.roots, paths)),
        )
        tree.nodes += growth.nodes
        tree.pace.program = growth.program
        if tree.trace is not None:
            for label, way, slopes, weights in growth.notes:
                tree.trace.note(label, paths[way], slopes, weights)
