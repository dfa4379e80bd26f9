"""The nodes of a tree expanded by several processes, a slice of time for one work unit each."""

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.node import TreeNode
from graphprune.backends.search.tree import PointReceiver, Tree
from graphprune.backends.search.work_units import (
    PathTable,
    RelativePath,
    WorkResult,
    WorkUnit,
    pack,
    unpack,
)
from graphprune.backends.search.worker_group import WorkerGroup
from graphprune.runtime.process import WorkerProcess
from graphprune.runtime.resources import Resources

# Open nodes per worker from which on a tree is worth sharing.
WORTH = 2
# Seconds of a slice; after which a worker is asked for nodes while others have none.
SLICE, FAIR = 0.5, 0.1
# Seconds after which a worker is taken to hang and ended.
HANGING = 60.0
# Nodes of a work unit at most, and the share of those waiting that one worker gets.
MOST_NODES, SHARE = 256, 2
# Seconds to wait for messages at a time.
PAUSE = 0.05


class TreeScheduler:
    """Expands a tree: in this process, and where it has grown, by the workers of a group.

    Parameters
    ----------
    roots
        The subproblems of the tree's roots.
    """

    def __init__(
        self, tree: Tree, roots: Sequence[Subproblem], points: PointReceiver, resources: Resources,
        group: WorkerGroup,
    ) -> None:  # fmt: skip
        self.tree = tree
        self.roots = list(roots)
        self.points = points
        self.resources = resources
        self.group = group
        # Workers that have the roots.
        self.ready: set[WorkerProcess] = set()

    def work(self) -> None:
        """Expand a node here, or listen for a moment to those who do."""
        idle = self.group.free()
        tree = self.tree
        if not self.group.leases and (not idle or tree.waiting < WORTH * self.group.workers):
            tree.step(self.points)
            return
        tree.shrink(self.points.radius)
        for worker in idle:
            if tree.waiting:
                self._lend(worker)
        if not tree.waiting and self.group.free():
            self._ask()
        self.group.hear(PAUSE)

    def _ask(self) -> None:
        """Have nodes back for idle workers from those that have had theirs for a while."""
        for lease in self.group.leases.values():
            age = monotonic() - lease.since
            if age > HANGING:
                lease.worker.kill()  # and is heard of
            elif age > FAIR and not lease.asked:
                lease.asked = True
                lease.worker.send("stop")

    def _lend(self, worker: WorkerProcess) -> None:
        tree, workers = self.tree, self.group.workers
        if worker not in self.ready:
            worker.send("roots", self.roots)
            self.ready.add(worker)
        share = -(-tree.waiting // (SHARE * workers))
        # Where memory is short, one node at a time: it is finished before another one is begun.
        ticket, nodes = tree.lend(1 if tree.deep else min(share, MOST_NODES))
        paths: list[RelativePath] = [(place, ()) for place in range(len(nodes))]
        memory = max(self.resources.memory - tree.bytes, 0) // workers
        unit = WorkUnit(
            tree.ball.radius, SLICE, self.resources.remaining(), memory, tree.trace is not None,
            tree.nodes, replace(tree.schedule), tree.settings, pack(nodes, self.roots, paths),
        )  # fmt: skip

        def back(result: WorkResult) -> None:
            self._take_back(tree.give_back(ticket), result)

        def lost() -> None:
            tree.add(tree.give_back(ticket))

        self.group.lend(worker, "expand", unit, back, lost, self.points)
        # The primal heuristic is that worker's to run, where it is due.
        tree.schedule.primal_due(tree.nodes, tree.settings.primal_growth)

    def _take_back(self, lent: list[TreeNode], result: WorkResult) -> None:
        """Put the results of lent nodes in their place."""
        tree = self.tree
        tree.shrink(result.radius)
        paths = PathTable([node.path for node in lent])
        tree.add(
            list(unpack(result.open, self.roots, paths)),
            list(unpack(result.resolved, self.roots, paths)),
        )
        tree.nodes += result.nodes
        tree.schedule.splits_per_lp = result.splits_per_lp
        if tree.trace is not None:
            for label, path, slopes, weights in result.closed:
                tree.trace.note(label, paths[path], slopes, weights)
