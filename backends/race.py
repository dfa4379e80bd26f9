"""SCIP beside the search: in a process of its own, ends and points of both in one ledger.

Most anchors are settled by the search long before SCIP would have begun. Where few neurons are
unstable and the search has been at it for a while, cutting planes and conflicts sometimes decide
what branching alone does not.
"""

import logging
import queue
from time import monotonic, sleep
from typing import Self

from graphprune.backends.protocol import PULSE, Ledger, Limits
from graphprune.clock import add_helper
from graphprune.ir.export import speaks_for_itself
from graphprune.runtime.process import Helper, Inbox

# Seconds of search before SCIP joins in, and unstable neurons up to which it is worth it.
AFTER, FEW = 5.0, 256

MODULE = "graphprune.backends.scip.racer"

log = logging.getLogger("graphprune")


class Race:
    """While this context is open, SCIP works on the ledger's question as well.

    It takes one of the limits' workers. What it says is heard whenever the ledger is told
    something. Certificates rest on the search alone: a ledger that records has no race.

    Attributes
    ----------
    running
        SCIP is at work.
    finished
        It came to its end.
    """

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self.ledger = ledger
        self.limits = limits
        self.running = self.finished = False
        # SCIP reads the source, which must not be another function.
        one = speaks_for_itself(ledger.problem.network)
        self._possible = limits.workers > 1 and not ledger.record and one
        self._start = monotonic()
        self._inbox: Inbox = queue.SimpleQueue()
        self._helper: Helper | None = None
        self._told = ledger.upper

    def __enter__(self) -> Self:
        self.ledger.beside = self.poll
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.beside = None
        self._end()

    def poll(self) -> None:
        """Begin when it is time; hear what SCIP says, and tell it of better points."""
        if self._possible and monotonic() - self._start > AFTER:
            self._possible = False
            if self.ledger.statistics.get("unstable", FEW + 1) <= FEW:
                self._begin()
        while self.running and not self._inbox.empty():
            self._take()
        if self.running and self._helper is not None and self.ledger.upper < self._told:
            self._told = self.ledger.upper
            self._helper.send("upper", self.ledger.witness)

    def wait(self) -> None:
        """The search has ended: SCIP alone, until the ledger is closed or a limit is reached."""
        while self.running and not self.ledger.closed and not self.limits.over:
            self.ledger.tell("SCIP")
            sleep(min(PULSE, max(self.limits.remaining(), 0.0)))

    def _begin(self) -> None:
        ledger = self.ledger
        try:
            self._helper = Helper(["-m", MODULE], self._inbox)
        except OSError as error:
            log.warning("SCIP cannot be started beside the search: %s", error)
            return
        model = ledger.problem.network.source.proto.SerializeToString()
        p = ledger.problem
        self._helper.send(
            model, p.anchor, p.domain, p.cutoff, ledger.witness, ledger.lower, ledger.proven,
            self.limits.memory, self.limits.remaining(),
        )  # fmt: skip
        self.running = True
        ledger.others = 1

    def _take(self) -> None:
        _, message = self._inbox.get()
        if message is None:
            if not self.finished and self._helper is not None:
                log.warning("SCIP beside the search failed: %s", self._helper.ending())
            self._end()
            return
        kind, *rest = message
        if kind == "point":
            self.ledger.offer(rest[0], deadline=self.limits.deadline)
            return
        lower, proven, seconds = rest
        # A bound that a point found meanwhile refutes is out of date.
        if not self.ledger.refuted(proven):
            self.ledger.raise_lower(proven, certified=True)
        if not self.ledger.refuted(lower):
            self.ledger.raise_lower(lower, certified=False)
        add_helper(seconds)
        self.finished = kind == "done"

    def _end(self) -> None:
        self.running = False
        self.ledger.others = 0
        if self._helper is not None:
            self._helper.kill()
