"""SCIP as a worker process; one is kept between solves."""

import atexit
import queue
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.scip.program import MixedIntegerProgram
from graphprune.clock import add_worker_seconds
from graphprune.runtime.process import Inbox, WorkerProcess

Floats = NDArray[np.float64]

SERVER = Path(__file__).with_name("server.py")
# Seconds that a worker has to end a solve that was stopped, before it is killed.
GRACE = 1.0
# Beyond the time limit SCIP itself is given.
LATE = 0.5
MEBI = 1 << 20
# Address space beyond what SCIP counts as its own memory.
SLACK = 256 * MEBI


@dataclass(eq=False)
class SolveStatus:
    """SCIP's messages about a program, so far.

    Attributes
    ----------
    dual
        Dual bound; -inf where there is none yet.
    point
        Radius and inputs of the best solution, or None.
    relaxed
        Radius and inputs of a node's relaxation, now and then.
    nodes
        Branch-and-bound nodes.
    status
        SCIP's own word at the end; ``failed`` where it did not come to one.
    failure
        The cause of that.
    """

    dual: float = -np.inf
    point: Floats | None = None
    relaxed: Floats | None = None
    nodes: int = 0
    status: str = "running"
    failure: str = ""


Listener = Callable[[SolveStatus], bool]
# SCIP's parameters by name; ``emphasis`` holds settings of whole parts of it.
ScipOptions = dict[str, float | bool | dict[str, str]]


def solve(
    program: MixedIntegerProgram,
    options: ScipOptions,
    *,
    deadline: float,
    memory: int,
    hear: Listener,
) -> SolveStatus:
    """Solve a program in the worker; its messages until the end, whatever the end was.

    Parameters
    ----------
    options
        SCIP's parameters.
    deadline
        On the clock of :func:`time.monotonic`.
    memory
        Bytes.
    hear
        Called at every better bound or point, and every tenth of a second; whether to go on.

    Raises
    ------
    KeyboardInterrupt
        Passed on after SCIP was told to stop.
    """
    global _kept
    try:
        worker = _worker(memory)
    except OSError as error:
        return SolveStatus(status="failed", failure=f"its process cannot be started ({error})")
    heard = worker.solve(program, options | {"limits/memory": memory / MEBI}, deadline, hear)
    if worker.dead:
        _kept = None
    return heard


class _ScipWorker(WorkerProcess):
    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.messages: Inbox = queue.SimpleQueue()
        super().__init__([str(SERVER), str(memory + SLACK)], self.messages)

    def solve(
        self, program: MixedIntegerProgram, options: ScipOptions, deadline: float, hear: Listener
    ) -> SolveStatus:
        heard = SolveStatus()
        self.send("solve", program.message(), options)
        kill_at = deadline + LATE
        stopped = False
        try:
            while heard.status == "running":
                self._take(heard, 0.1)
                if not hear(heard) and not stopped:
                    kill_at = -np.inf
                if monotonic() > kill_at:
                    if stopped:
                        self.kill()
                        heard.status = "timelimit"
                    else:
                        self.send("stop")
                        stopped, kill_at = True, monotonic() + GRACE
        except BaseException:
            # Ctrl-C, or an error of the listener's: nobody waits for this worker's answer.
            self.kill()
            raise
        return heard

    def _take(self, heard: SolveStatus, seconds: float) -> None:
        """Wait for a message and write it down."""
        try:
            _, message = self.messages.get(timeout=seconds)
        except queue.Empty:
            return
        if message is None:
            heard.status, heard.failure = "failed", self.ending()
        elif message[0] == "bound":
            heard.dual, heard.nodes = max(heard.dual, message[1]), message[2]
        elif message[0] == "point":
            heard.point = message[1]
        elif message[0] == "relaxed":
            heard.relaxed = message[1]
        elif message[0] == "failed":
            heard.status, heard.failure = "failed", message[1]
        else:
            _, heard.status, dual, heard.nodes, point, seconds = message
            heard.dual = max(heard.dual, dual)
            heard.point = heard.point if point is None else point
            add_worker_seconds(seconds)


_kept: _ScipWorker | None = None


def _worker(memory: int) -> _ScipWorker:
    """The worker that is kept, or a new one."""
    global _kept
    if _kept is None or not _kept.mine or _kept.dead or _kept.memory != memory:
        if _kept is not None and _kept.mine:
            _kept.kill()
        _kept = _ScipWorker(memory)
    return _kept


@atexit.register
def _end() -> None:
    if _kept is not None and _kept.mine:
        _kept.kill()
