"""SCIP beside the search: in a process of its own, ends and points of both in one interval.

Most anchors are settled by the search long before SCIP would have begun. Where few neurons are
unstable and the search has been at it for a while, cutting planes and conflicts sometimes decide
what branching alone does not.
"""

import logging
import queue
from time import monotonic, sleep
from typing import Self

from graphprune.backends.protocol import PULSE, DistanceInterval
from graphprune.clock import add_worker_seconds
from graphprune.ir.export import speaks_for_itself
from graphprune.runtime.process import Inbox, WorkerProcess
from graphprune.runtime.resources import Resources

# Seconds of search before SCIP joins in, and unstable neurons up to which it is worth it.
AFTER, FEW = 5.0, 256

MODULE = "graphprune.backends.scip.racer"

log = logging.getLogger("graphprune")


class Race:
    """While this context is open, SCIP works on the interval's question as well.

    It takes one of the limits' workers. What it says is heard whenever the interval is told
    something. Certificates rest on the search alone: a interval that records has no race.

    Attributes
    ----------
    running
        SCIP is at work.
    finished
        It came to its end.
    """

    def __init__(self, interval: DistanceInterval, resources: Resources) -> None:
        self.interval = interval
        self.resources = resources
        self.running = self.finished = False
        # SCIP reads the source, which must not be another function.
        network = interval.problem.network
        one = speaks_for_itself(network) and network.source.entry is None
        self._possible = resources.workers > 1 and not interval.record and one
        self._start = monotonic()
        self._inbox: Inbox = queue.SimpleQueue()
        self._helper: WorkerProcess | None = None
        self._told = interval.upper

    def __enter__(self) -> Self:
        self.interval.poll = self.poll
        return self

    def __exit__(self, *_: object) -> None:
        self.interval.poll = None
        self._end()

    def poll(self) -> None:
        """Begin when it is time; hear what SCIP says, and tell it of better points."""
        if self._possible and monotonic() - self._start > AFTER:
            self._possible = False
            if self.interval.at_most_unstable(FEW):
                self._begin()
        while self.running and not self._inbox.empty():
            self._take()
        if self.running and self._helper is not None and self.interval.upper < self._told:
            self._told = self.interval.upper
            self._helper.send("upper", self.interval.witness)

    def wait(self) -> None:
        """The search has ended: SCIP alone, until the interval is closed or a limit is reached."""
        while self.running and not self.interval.closed and not self.resources.over:
            self.interval.report("SCIP")
            sleep(min(PULSE, max(self.resources.remaining(), 0.0)))

    def _begin(self) -> None:
        interval = self.interval
        try:
            self._helper = WorkerProcess(["-m", MODULE], self._inbox)
        except OSError as error:
            log.warning("SCIP cannot be started beside the search: %s", error)
            return
        model = interval.problem.network.source.proto.SerializeToString()
        p = interval.problem
        self._helper.send(
            model, p.anchor, p.domain, p.norm, p.cutoff, p.target, interval.witness, interval.lower,
            interval.proven, self.resources.memory, self.resources.remaining(),
        )  # fmt: skip
        self.running = True
        interval.busy_elsewhere = 1

    def _take(self) -> None:
        _, message = self._inbox.get()
        if message is None:
            if not self.finished and self._helper is not None:
                log.warning("SCIP beside the search failed: %s", self._helper.ending())
            self._end()
            return
        kind, *rest = message
        if kind == "point":
            self.interval.add_candidate(rest[0], deadline=self.resources.deadline)
            return
        lower, proven, seconds = rest
        # A bound that a point found meanwhile refutes is out of date.
        if not self.interval.refuted(proven):
            self.interval.raise_lower(proven, certified=True)
        if not self.interval.refuted(lower):
            self.interval.raise_lower(lower, certified=False)
        add_worker_seconds(seconds)
        self.finished = kind == "done"

    def _end(self) -> None:
        self.running = False
        self.interval.busy_elsewhere = 0
        if self._helper is not None:
            self._helper.kill()
