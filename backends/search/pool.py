"""Search processes, and who of them works on what.

They hold no state of importance: whatever is lent to one stays here as well until the answer is
there, so that a worker that dies costs the time since then and nothing else.
"""

import atexit
import logging
import os
import queue
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

import numpy as np

from graphprune.backends.search.tree import Points
from graphprune.clock import add_helper
from graphprune.runtime.process import Helper, Inbox, Message

# Seconds that a rung takes before workers are started: easy anchors pay nothing for them.
HARD = 0.5
# Seconds to wait for what is lent at the end.
GRACE = 0.5

MODULE = "graphprune.backends.search.worker"

log = logging.getLogger("graphprune")


class Pool:
    """Search processes, kept between anchors.

    Attributes
    ----------
    jobs
        The numbers of what those that are ready work on; 0: nothing.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.inbox: Inbox = queue.SimpleQueue()
        self.helpers: list[Helper] = []
        self.jobs: dict[Helper, int] = {}
        self.count = 0
        self.broken = ""

    def start(self, size: int) -> None:
        """Have `size` processes; returns before they are ready.

        Raises
        ------
        OSError
            They cannot be started, or none of an earlier start became ready.
        """
        if self.broken:
            raise OSError(self.broken)
        self.helpers = [helper for helper in self.helpers if not helper.dead]
        while len(self.helpers) > size:
            surplus = self.helpers.pop()
            self.jobs.pop(surplus, None)
            surplus.kill()
        while len(self.helpers) < size:
            self.helpers.append(Helper(["-m", MODULE, str(_memory or 0)], self.inbox))

    @property
    def idle(self) -> list[Helper]:
        """Those that are ready and work on nothing."""
        return [helper for helper, job in self.jobs.items() if not job]

    def begin(self, helper: Helper) -> int:
        """A number for what a helper works on now."""
        self.count += 1
        self.jobs[helper] = self.count
        return self.count

    def hear(self, seconds: float) -> tuple[Helper, Message] | None:
        """The next message; a death is told as ``("failed", job, why)``."""
        try:
            helper, message = self.inbox.get(block=seconds > 0.0, timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            if helper not in self.jobs and helper in self.helpers:
                self.broken = helper.ending()
            job = self.jobs.pop(helper, 0)
            return helper, ("failed", job, helper.ending())
        if message[0] in ("ready", "back", "failed") and helper in self.helpers:
            self.jobs[helper] = 0
        return helper, message

    def kill(self) -> None:
        for helper in self.helpers:
            helper.kill()


_kept: Pool | None = None
_memory: int | None = None


def configure(*, memory: int | None) -> None:
    """Bytes of address space that a worker may use; None: as many as there are."""
    global _memory
    if memory != _memory:
        _end()
    _memory = memory


def _pool() -> Pool:
    """The pool that is kept, or a new one: after a fork it is the parent's."""
    global _kept
    if _kept is None or _kept.owner != os.getpid():
        _kept = Pool()
    return _kept


@atexit.register
def _end() -> None:
    global _kept
    if _kept is not None and _kept.owner == os.getpid():
        _kept.kill()
    _kept = None


@dataclass(eq=False)
class Loan:
    """What a worker works on.

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

    helper: Helper
    since: float
    back: Callable[[Any], None]
    lost: Callable[[], None]
    points: Points | None = None
    asked: bool = False


class Team:
    """The workers that a rung may use; none as long as it is easy.

    Leaving it as a context after an exception ends the workers that have something in hand: a
    message to them may have been cut off in its middle.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.loans: dict[int, Loan] = {}
        self._start = monotonic()
        self._pool: Pool | None = None
        self._alone = workers < 2
        # The radius that all of them know.
        self._told = np.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None and self.loans:
            _end()

    def free(self) -> list[Helper]:
        """The workers that could do something now; what the others have said is taken first."""
        if self._alone:
            return []
        if self._pool is None:
            if monotonic() - self._start < HARD:
                return []
            self._pool = _pool()
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
        helper: Helper,
        kind: str,
        what: object,
        back: Callable[[Any], None],
        lost: Callable[[], None],
        points: Points | None = None,
    ) -> None:
        """Give an idle worker something to do."""
        assert self._pool is not None
        job = self._pool.begin(helper)
        self.loans[job] = Loan(helper, monotonic(), back, lost, points)
        helper.send(kind, job, what)

    def hear(self, seconds: float) -> None:
        """Take what arrives within this time, and whatever is there then."""
        heard = self._pool.hear(seconds) if self._pool is not None else None
        while heard is not None and self._pool is not None:
            self._take(*heard)
            heard = self._pool.hear(0.0)

    def _take(self, helper: Helper, message: Message) -> None:
        """A worker says something; what is about things of the past is not taken up."""
        kind, *rest = message
        loan = self.loans.get(rest[0]) if rest else None
        if kind in ("offer", "pursue"):
            points = None if loan is None else loan.points
            if points is not None:
                getattr(points, kind)(*rest[1:])
            helper.send("answer", np.inf if points is None else points.radius)
            if points is not None and points.radius < self._told:
                self._told = points.radius
                for other in self.loans.values():
                    other.helper.send("radius", self._told)
            return
        if loan is not None:
            del self.loans[rest[0]]
        if kind == "back":
            add_helper(rest[2])
            if loan is not None:
                loan.back(rest[1])
        elif kind == "failed":
            log.warning("a search worker failed: %s", rest[1])
            # One that is still alive would fail again.
            self._alone = self._alone or not helper.dead
            if loan is not None:
                loan.lost()

    def recall(self) -> None:
        """Have everything back that is lent, as far as it comes."""
        for loan in self.loans.values():
            loan.helper.send("stop")
        until = monotonic() + GRACE
        while self.loans and (seconds := until - monotonic()) > 0.0:
            self.hear(seconds)
        for loan in self.loans.values():
            loan.lost()
        self.loans.clear()
