"""A search process: it expands the nodes that it is lent, with the loop of the serial search.

Messages that arrive:

    ("roots", [subproblem, ...])    the roots of the tree that the next work units are of
    ("expand", job, work unit)      expand nodes
    ("tighten", job, root task)     tighten the bounds of a root
    ("answer", radius)              to a point that was told; the ball that is still of interest
    ("radius", radius)              the same, because of others' points
    ("stop",)                       give back what is left

and those that leave:

    ("ready",)
    ("candidate", job, x), ("near", job, class, x)      points, see :class:`tree.PointReceiver`
    ("back", job, result, processor seconds)
    ("failed", job, message)
"""

import queue
import sys
from time import monotonic, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.root_tightening import RootTask, TightenedRoot, tighten_root
from graphprune.backends.search.tree import Tree
from graphprune.backends.search.work_units import (
    ClosedNode,
    PathTable,
    WorkResult,
    WorkUnit,
    origin,
    pack,
    relative_path,
    unpack,
)
from graphprune.backends.trace import Path
from graphprune.runtime.process import Parent
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]


class ClosedNodes:
    """Keeps the closed nodes that a trace is to be told of."""

    def __init__(self) -> None:
        self.nodes: list[ClosedNode] = []

    def note(
        self, target: int, path: Path, slopes: NDArray[np.floating],
        cut_weights: NDArray[np.floating],
    ) -> None:  # fmt: skip
        """Keep a closed node of a target."""
        singles = slopes.astype(np.float32), cut_weights.astype(np.float32)
        self.nodes.append((target, relative_path(path), *singles))


class SearchWorker:
    """The process; its tree brings points to it."""

    def __init__(self) -> None:
        self.parent = Parent()
        self.todo: queue.SimpleQueue[tuple[int, WorkUnit | RootTask]] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[float] = queue.SimpleQueue()
        self.roots: list[Subproblem] = []
        self.radius = np.inf
        self.stopped = False
        self.job = 0

    def add_candidate(self, x: Floats) -> None:
        self.parent.tell("candidate", self.job, x)
        self.radius = min(self.radius, self.answers.get())

    def search_near(self, target: int, x: Floats) -> None:
        self.parent.tell("near", self.job, target, x)
        self.radius = min(self.radius, self.answers.get())

    def hear(self, kind: str, *rest: Any) -> None:
        """Take a message of the parent's."""
        if kind in ("expand", "tighten"):
            self.stopped = False
            self.radius = np.inf
            self.todo.put((rest[0], rest[1]))
        elif kind == "roots":
            self.roots = rest[0]
        elif kind == "answer":
            self.answers.put(rest[0])
        elif kind == "radius":
            self.radius = min(self.radius, rest[0])
        else:
            self.stopped = True

    def serve(self) -> None:
        """Work until the parent is gone."""
        self.parent.listen(self.hear)
        self.parent.tell("ready")
        while True:
            self.job, task = self.todo.get()
            start = process_time()
            try:
                done = self.expand(task) if isinstance(task, WorkUnit) else self.tighten(task)
            except Exception as error:
                self.parent.tell("failed", self.job, f"{type(error).__name__}: {error}")
            else:
                self.parent.tell("back", self.job, done, process_time() - start)

    def tighten(self, task: RootTask) -> TightenedRoot:
        """Tighten the bounds of a root."""
        return tighten_root(task.root, Resources(monotonic() + task.seconds), task.effort)

    def expand(self, unit: WorkUnit) -> WorkResult:
        """Expand nodes until none is left, time is over, or it is stopped."""
        # A slice ends between nodes; programs within one have until the question's own end.
        start = monotonic()
        resources = Resources(start + unit.left, unit.memory)
        end = start + min(unit.seconds, unit.left)
        closed, roots = ClosedNodes(), self.roots
        tree = Tree(
            roots[0].ball.shrunk(unit.radius), resources, closed if unit.record else None,
            unit.schedule, unit.settings,
        )  # fmt: skip
        origins = [origin(place) for place in range(len(unit.nodes.nodes))]
        tree.nodes = unit.expanded
        tree.add(list(unpack(unit.nodes, roots, PathTable(origins))))
        while len(tree) and not self.stopped and monotonic() < end:
            tree.step(self)
        tree.shrink(self.radius)
        waiting, resolved = (
            pack(nodes, roots, [relative_path(node.path) for node in nodes])
            for nodes in tree.remaining()
        )
        return WorkResult(
            waiting, resolved, tree.nodes - unit.expanded, tuple(closed.nodes),
            tree.schedule.splits_per_lp, tree.ball.radius,
        )  # fmt: skip


def main() -> None:
    worker = SearchWorker()
    memory = int(sys.argv[1])
    if memory:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    worker.serve()


if __name__ == "__main__":
    main()
