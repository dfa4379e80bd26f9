"""Processes that search, kept between anchors."""

import atexit
import os
import queue

from graphprune.runtime.process import Inbox, Message, WorkerProcess

MODULE = "graphprune.backends.search.worker"


class ProcessPool:
    """Search processes, kept between anchors.

    Attributes
    ----------
    memory
        Bytes of address space that each may use; None: as many as there are.
    jobs
        The numbers of the leases of those that are ready; 0: none.
    """

    def __init__(self, memory: int | None = None) -> None:
        self.memory = memory
        self.owner = os.getpid()
        self.inbox: Inbox = queue.SimpleQueue()
        self.workers: list[WorkerProcess] = []
        self.jobs: dict[WorkerProcess, int] = {}
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
        self.workers = [worker for worker in self.workers if not worker.dead]
        while len(self.workers) > size:
            surplus = self.workers.pop()
            self.jobs.pop(surplus, None)
            surplus.kill()
        while len(self.workers) < size:
            arguments = ["-m", MODULE, str(self.memory or 0)]
            self.workers.append(WorkerProcess(arguments, self.inbox))

    @property
    def idle(self) -> list[WorkerProcess]:
        """Workers that are ready and work on nothing."""
        return [worker for worker, job in self.jobs.items() if not job]

    def begin(self, worker: WorkerProcess) -> int:
        """Return a number for a worker's next lease."""
        self.count += 1
        self.jobs[worker] = self.count
        return self.count

    def hear(self, seconds: float) -> tuple[WorkerProcess, Message] | None:
        """The next message; a death is told as ``("failed", job, why)``."""
        try:
            worker, message = self.inbox.get(block=seconds > 0.0, timeout=seconds)
        except queue.Empty:
            return None
        if message is None:
            if worker not in self.jobs and worker in self.workers:
                self.broken = worker.ending()
            job = self.jobs.pop(worker, 0)
            return worker, ("failed", job, worker.ending())
        if message[0] in ("ready", "back", "failed") and worker in self.workers:
            self.jobs[worker] = 0
        return worker, message

    def kill(self) -> None:
        for worker in self.workers:
            worker.kill()


_kept: ProcessPool | None = None


def kept_pool(memory: int | None = None) -> ProcessPool:
    """The pool that is kept, or a new one: after a fork it is the parent's.

    Parameters
    ----------
    memory
        Bytes of address space that a worker may use; a pool with another limit ends.
    """
    global _kept
    if _kept is not None and _kept.memory != memory:
        end_pool()
    if _kept is None or _kept.owner != os.getpid():
        _kept = ProcessPool(memory)
    return _kept


@atexit.register
def end_pool() -> None:
    global _kept
    if _kept is not None and _kept.owner == os.getpid():
        _kept.kill()
    _kept = None
