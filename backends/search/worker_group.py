"""The workers that a radius step may use, and who of them works on what.

They hold no state of importance: a lease keeps what was sent to a worker here as well until the
answer is there, so that a worker that dies costs the time since then and nothing else.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

import numpy as np

from graphprune.backends.search.process_pool import ProcessPool, end_pool, kept_pool
from graphprune.backends.search.tree import PointReceiver
from graphprune.clock import add_worker_seconds
from graphprune.runtime.process import Message, WorkerProcess

# Seconds that a radius step takes before workers are started: easy anchors pay nothing for them.
HARD = 0.5
# Seconds to wait for leases at the end.
GRACE = 0.5

log = logging.getLogger("graphprune")


@dataclass(eq=False)
class Lease:
    """Work that a worker has in hand.

    Attributes
    ----------
    since
        When it was lent.
    back, lost
        Called with what comes back, or when nothing does.
    points
        Where its points go.
    asked
        It was told to come to an end.
    """

    worker: WorkerProcess
    since: float
    back: Callable[[Any], None]
    lost: Callable[[], None]
    points: PointReceiver | None = None
    asked: bool = False


class WorkerGroup:
    """The workers that a radius step may use; none as long as it is easy.

    Parameters
    ----------
    workers
        Their number.
    memory
        Bytes of address space that each may use; None: as many as this process.

    Notes
    -----
    Leaving it as a context after an exception ends the workers that have something in hand: a
    message to them may have been cut off in its middle.
    """

    def __init__(self, workers: int, memory: int | None = None) -> None:
        self.workers = workers
        self.memory = memory
        self.leases: dict[int, Lease] = {}
        self._start = monotonic()
        self._pool: ProcessPool | None = None
        self._alone = workers < 2
        # The radius that all of them know.
        self._told = np.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None and self.leases:
            end_pool()

    def free(self) -> list[WorkerProcess]:
        """Return the workers that are idle; messages of the others are taken first."""
        if self._alone:
            return []
        if self._pool is None:
            if monotonic() - self._start < HARD:
                return []
            self._pool = kept_pool(self.memory)
            try:
                self._pool.start(self.workers)
            except OSError as error:
                log.warning("search workers cannot be started (%s): going on without", error)
                self._alone = True
                return []
        self.hear(0.0)
        return self._pool.idle

    def lend(
        self,
        worker: WorkerProcess,
        kind: str,
        what: object,
        back: Callable[[Any], None],
        lost: Callable[[], None],
        points: PointReceiver | None = None,
    ) -> None:
        """Give an idle worker something to do."""
        assert self._pool is not None
        job = self._pool.begin(worker)
        self.leases[job] = Lease(worker, monotonic(), back, lost, points)
        worker.send(kind, job, what)

    def hear(self, seconds: float) -> None:
        """Take what arrives within this time, and whatever is there then."""
        heard = self._pool.hear(seconds) if self._pool is not None else None
        while heard is not None and self._pool is not None:
            self._take(*heard)
            heard = self._pool.hear(0.0)

    def _take(self, worker: WorkerProcess, message: Message) -> None:
        """Take a worker's message; one about things of the past is not taken up."""
        kind, *rest = message
        lease = self.leases.get(rest[0]) if rest else None
        if kind in ("candidate", "near"):
            points = None if lease is None else lease.points
            if points is not None and kind == "candidate":
                points.add_candidate(*rest[1:])
            elif points is not None:
                points.search_near(*rest[1:])
            worker.send("answer", np.inf if points is None else points.radius)
            if points is not None and points.radius < self._told:
                self._told = points.radius
                for other in self.leases.values():
                    other.worker.send("radius", self._told)
            return
        if lease is not None:
            del self.leases[rest[0]]
        if kind == "back":
            add_worker_seconds(rest[2])
            if lease is not None:
                lease.back(rest[1])
        elif kind == "failed":
            log.warning("a search worker failed: %s", rest[1])
            # One that is still alive would fail again.
            self._alone = self._alone or not worker.dead
            if lease is not None:
                lease.lost()

    def recall(self) -> None:
        """Have everything back that is lent, as far as it comes."""
        for lease in self.leases.values():
            lease.worker.send("stop")
        until = monotonic() + GRACE
        while self.leases and (seconds := until - monotonic()) > 0.0:
            self.hear(seconds)
        for lease in self.leases.values():
            lease.lost()
        self.leases.clear()
