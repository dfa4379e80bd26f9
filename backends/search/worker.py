"""A search process: it expands the cases that it is lent, with the loop of the serial search.

What arrives is

    ("roots", [target, ...])        the targets of the tree that the next portions are of
    ("grow", job, portion)          expand cases
    ("prepare", job, root)          tighten the bounds of a target
    ("answer", radius)              to a point that was told; the ball that is still of interest
    ("radius", radius)              the same, because of others' points
    ("stop",)                       give back what is left

and what leaves

    ("ready",)
    ("offer", job, x), ("pursue", job, class, x)        points, see :class:`tree.Points`
    ("back", job, result, processor seconds)
    ("failed", job, message)
"""

import queue
import sys
from time import monotonic, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.protocol import Limits
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.parcel import (
    Growth,
    Note,
    Paths,
    Portion,
    origin,
    pack,
    unpack,
    way_of,
)
from graphprune.backends.search.roots import Prepared, Root, prepare
from graphprune.backends.search.tree import Tree
from graphprune.backends.trace import Path
from graphprune.runtime.process import Parent

Floats = NDArray[np.float64]


class Notes:
    """Keeps what a trace is to be told."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def note(
        self,
        target: int,
        path: Path,
        slopes: NDArray[np.floating],
        cut_weights: NDArray[np.floating],
    ) -> None:
        """Keep that a case of a target is closed."""
        singles = slopes.astype(np.float32), cut_weights.astype(np.float32)
        self.notes.append((target, way_of(path), *singles))


class Worker:
    """The process; to its tree it is where points are brought."""

    def __init__(self) -> None:
        self.parent = Parent()
        self.todo: queue.SimpleQueue[tuple[int, Portion | Root]] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[float] = queue.SimpleQueue()
        self.roots: list[Subproblem] = []
        self.radius = np.inf
        self.stopped = False
        self.job = 0

    def offer(self, x: Floats) -> None:
        self.parent.tell("offer", self.job, x)
        self.radius = min(self.radius, self.answers.get())

    def pursue(self, target: int, x: Floats) -> None:
        self.parent.tell("pursue", self.job, target, x)
        self.radius = min(self.radius, self.answers.get())

    def hear(self, kind: str, *rest: Any) -> None:
        """A message of the parent's."""
        if kind in ("grow", "prepare"):
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
                done = self.grow(task) if isinstance(task, Portion) else self.prepare(task)
            except Exception as error:
                self.parent.tell("failed", self.job, f"{type(error).__name__}: {error}")
            else:
                self.parent.tell("back", self.job, done, process_time() - start)

    def prepare(self, root: Root) -> Prepared:
        """Tighten the bounds of a target."""
        return prepare(root.target, Limits(monotonic() + root.seconds), root.rounds, root.cuts)

    def grow(self, portion: Portion) -> Growth:
        """Expand cases until none is left, time is over, or it is stopped."""
        # A slice ends between nodes; programs within one have until the question's own end.
        start = monotonic()
        limits = Limits(start + portion.left, portion.memory)
        end = start + min(portion.seconds, portion.left)
        notes, roots = Notes(), self.roots
        ball = roots[0].ball.shrunk(portion.radius)
        tree = Tree(ball, limits, notes if portion.record else None, portion.pace)
        origins = [origin(place) for place in range(len(portion.cases.nodes))]
        tree.nodes = portion.nodes
        tree.add(list(unpack(portion.cases, roots, Paths(origins))))
        while len(tree) and not self.stopped and monotonic() < end:
            tree.step(self)
        tree.shrink(self.radius)
        waiting, settled = (
            pack(nodes, roots, [way_of(node.path) for node in nodes]) for nodes in tree.cases
        )
        nodes, program = tree.nodes - portion.nodes, tree.pace.program
        return Growth(waiting, settled, nodes, tuple(notes.notes), program, tree.ball.radius)


def main() -> None:
    worker = Worker()
    memory = int(sys.argv[1])
    if memory:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    worker.serve()


if __name__ == "__main__":
    main()
