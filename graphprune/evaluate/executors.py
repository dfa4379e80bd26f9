"""Where tasks run: in this process, in a pool of processes, on a Dask cluster.

All of them are ``concurrent.futures`` executors; a task is `work` with plain arguments. A model
travels once to every process, by its hash.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children
from multiprocessing.connection import Connection
from threading import Thread
from time import monotonic
from types import FrameType
from typing import Any

import onnx

from graphprune.canonical import from_proto
from graphprune.errors import GraphpruneError
from graphprune.evaluate.results import Known, Result, Task
from graphprune.evaluate.server import worker_context
from graphprune.evaluate.settings import Metric, Settings
from graphprune.evaluate.tasks import perform
from graphprune.ir import Network
from graphprune.progress import Interval, Progress, quiet
from graphprune.region import Anchor
from graphprune.runtime.resources import using

Models = Mapping[str, bytes]
# Hears what a task says while it runs.
Listener = Callable[[Task, str], None]

# Characters of a message that a worker sends at most.
LONGEST = 500
# Seconds between two messages of a task in another process.
PULSE = 0.5

# Under which a cluster's workers report.
TOPIC = "graphprune"

# Networks of this process by the hash of their file.
_networks: dict[str, Network] = {}
_models: dict[str, bytes] = {}
# Where this process sends what its tasks say.
_listener: list[Listener] = []


@dataclass(eq=False)
class _Early:
    """State of a worker: it was asked to end early, and a task runs that can."""

    asked: bool = False
    running: bool = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler; between tasks there is nothing to break."""
        self.asked = True
        if self.running:
            raise KeyboardInterrupt

    @contextmanager
    def task(self) -> Iterator[None]:
        self.running = True
        try:
            if self.asked:
                raise KeyboardInterrupt
            yield
        finally:
            self.running = False


_early = _Early()


def work(task: Task, anchor: Anchor, settings: Settings, known: Known) -> Result:
    """Do one task in a worker process."""
    model = task.model
    with _early.task():
        if model not in _networks:
            network = from_proto(onnx.load_model_from_string(_models[model]))
            _networks[model] = settings.prepared(network)
        progress = _pulsed(_listener[0], task) if _listener else quiet
        with using(settings.resources(progress)):
            return perform(_networks[model], anchor, task, settings, known, progress)


def _pulsed(listener: Listener, task: Task) -> Progress:
    """Send at most one message per `PULSE`."""
    last = -PULSE

    def say(message: str) -> None:
        nonlocal last
        now = monotonic()
        if now - last >= PULSE:
            last = now
            listener(task, message)

    return say


@dataclass(frozen=True, eq=False)
class Inline(Executor):
    """Runs a task where it is submitted: one at a time, with its progress heard."""

    networks: Mapping[str, Network]
    listener: Listener

    slots = 1

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        task, anchor, settings, known = args
        network, progress = self.networks[task.model], partial(self.listener, task)
        future.set_result(perform(network, anchor, task, settings, known, progress))
        return future

    def break_off(self) -> None:
        """Nothing runs between submissions."""


# A worker begins by importing the script again, for the passes and functions that it defines.
NO_WORKERS = (
    "the worker processes cannot be started: a script that asks for workers does so under"
    ' `if __name__ == "__main__":`, in a file; or take workers=1; if it was anything else, the'
    " workers' own error stands above"
)


class PoolExecutor(Executor):
    """Processes of this machine; one that dies or overruns costs its own task only.

    Parameters
    ----------
    memory
        Bytes of address space each worker may use; None for no limit.
    limit
        Seconds after which a worker is taken to hang and killed.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        *,
        listener: Listener,
        memory: int | None,
        limit: float | None,
    ) -> None:
        from pebble import ProcessPool

        # A worker's next task is there before it asks: results take a moment to be saved.
        self.slots = 2 * settings.workers
        self._limit = limit
        context = worker_context(settings.threads)
        # One pipe for all workers: a message is written at once, so that no lock is needed which
        # a killed worker could keep.
        receiver, self._sender = context.Pipe(duplex=False)
        Thread(target=_listen, args=(receiver, listener), daemon=True).start()
        self._pool: Any = ProcessPool(
            max_workers=settings.workers,
            context=context,
            initializer=_start,
            initargs=[dict(models), memory, self._sender, dict(os.environ)],
        )

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        try:
            future: Future[Any] = self._pool.schedule(
                fn, args=args, kwargs=kwargs, timeout=self._limit
            )
        except RuntimeError:  # the pool has broken
            raise GraphpruneError(NO_WORKERS) from None
        return future

    def break_off(self) -> None:
        """Ask running tasks to come to an end with what they have."""
        for process in active_children():
            if process.pid is not None and hasattr(signal, "SIGUSR1"):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGUSR1)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.stop()
        self._pool.join()
        self._sender.close()


def _listen(receiver: Connection, listener: Listener) -> None:
    """Pass on what workers say until the last of them is gone."""
    while True:
        try:
            task, message = receiver.recv()
        except (EOFError, OSError):
            return
        except Exception:  # a message that a killed worker did not finish
            continue
        listener(task, message)


def _start(
    models: Models, memory: int | None, sender: Connection, environment: Mapping[str, str]
) -> None:
    # A server that this process was forked from has that of the time when it was started.
    os.environ.update(environment)
    # The parent hears Ctrl-C; it asks for an early end by SIGUSR1.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, _early.hear)
    if memory is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    _models.update(models)

    def send(task: Task, message: str) -> None:
        with suppress(OSError):  # nobody listens any more
            sender.send((task, _short(message)))

    _listener[:] = [send]


def _short(message: str) -> str:
    """Below the size that a pipe takes at once."""
    return message if len(message) <= LONGEST else message[:LONGEST]


class Cluster(Executor):
    """Workers of a Dask scheduler; a lost worker's tasks go to another one."""

    def __init__(self, address: str, models: Models, listener: Listener) -> None:
        try:
            import distributed
        except ImportError:
            raise GraphpruneError(
                "--scheduler needs Dask: pip install 'graphprune[distributed]'"
            ) from None
        try:
            connect: Any = distributed.Client
            self._client = connect(address, timeout="10s")
        except (OSError, TimeoutError, ValueError) as error:
            raise GraphpruneError(
                f"--scheduler {address}: cannot connect: {str(error).splitlines()[0]}"
            ) from None
        # Kept by the scheduler: workers that join later, or come back, are given the models too.
        self._client.register_plugin(_plugin(models))
        self._client.subscribe_topic(TOPIC, lambda event: listener(*_unpacked(event[1])))
        self._executor = self._client.get_executor(pure=False)

    @property
    def slots(self) -> int:
        """Twice the cluster's threads: no worker waits for its next task."""
        cores: dict[str, int] = self._client.ncores()
        return max(1, 2 * sum(cores.values()))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = self._executor.submit(fn, *args, **kwargs)
        return future

    def break_off(self) -> None:
        """Workers elsewhere are not interrupted: their tasks end by themselves or are dropped."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._client.close()


def _packed(task: Task, message: str) -> dict[str, Any]:
    """A message as a cluster carries it: of plain types only."""
    event: dict[str, Any] = {
        "task": [task.model, task.index, task.metric.value, task.spec],
        "text": str(message),
    }
    if isinstance(message, Interval):
        event["interval"] = [message.doing, float(message.proven), float(message.known)]
    return event


def _unpacked(event: Mapping[str, Any]) -> tuple[Task, str]:
    ends = event.get("interval")
    model, index, metric, spec = event["task"]
    task = Task(model, index, Metric(metric), spec)
    return task, event["text"] if ends is None else Interval(*ends)


def _plugin(models: Models) -> Any:
    """The Dask plugin that brings every worker of a cluster the models, once."""
    from distributed import WorkerPlugin

    class Bring(WorkerPlugin):
        name = "graphprune " + " ".join(sorted(models))

        def setup(self, worker: Any) -> None:
            from graphprune.evaluate import executors

            executors._models.update(models)
            executors._listener[:] = [
                lambda task, message: worker.log_event(TOPIC, executors._packed(task, message))
            ]

    return Bring()
