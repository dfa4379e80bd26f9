"""Resources of a computation: time, memory, cores, device, and where its progress goes.

A function that searches takes a `Resources`; what lies deeper (sessions, chunks of bounds) reads
those that are current in its thread::

    with using(Resources(threads=4, provider="cpu")):
        bounds = pre_activation_bounds(network, boxes)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from math import inf
from time import monotonic
from typing import Literal

from graphprune.errors import GraphpruneError
from graphprune.progress import Progress, quiet
from graphprune.runtime import provider as providers
from graphprune.runtime.provider import Provider
from graphprune.runtime.threads import blas_threads


@dataclass(frozen=True)
class Resources:
    """Limits of a computation; none of them changes what is true, a deadline what is found.

    Attributes
    ----------
    deadline
        On the clock of :func:`time.monotonic`: a search ends there with what it has.
    memory
        Bytes that the intermediate results of bounds, or the open cases of a search over all its
        processes, may take.
    threads
        Cores of one process: ONNX Runtime, BLAS and solvers.
    workers
        Processes that may search.
    worker_memory
        Bytes of address space that each of these may use; None: as many as this one.
    provider
        The provider of ONNX Runtime; ``auto`` takes CUDA where it is usable.
    progress
        Told in a few words what is being done.
    """

    deadline: float = inf
    memory: int = 2 << 30
    threads: int = 1
    workers: int = 1
    worker_memory: int | None = None
    provider: Provider = "auto"
    progress: Progress = quiet

    def remaining(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self.deadline - monotonic()

    @property
    def over(self) -> bool:
        """The deadline has passed."""
        return self.remaining() <= 0.0

    def within(self, seconds: float) -> "Resources":
        """The same resources for so many seconds from now, or until their deadline."""
        return replace(self, deadline=min(self.deadline, monotonic() + seconds))

    def telling(self, progress: Progress) -> "Resources":
        """The same resources with another listener."""
        return replace(self, progress=progress)

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The device that sessions run on."""
        return "cpu" if self.provider == "cpu" or providers.cuda_problem() else "cuda"


_current: ContextVar[Resources] = ContextVar("resources", default=Resources())  # noqa: B039


def current() -> Resources:
    """The resources of this thread's computation; the defaults outside of `using`."""
    return _current.get()


@contextmanager
def using(resources: Resources) -> Iterator[Resources]:
    """Make resources current in this thread until the block ends.

    Raises
    ------
    GraphpruneError
        CUDA is asked for and not usable; the message says why.
    """
    if resources.provider == "cuda" and (reason := providers.cuda_problem()):
        raise GraphpruneError(f"provider cuda: {reason}; use --provider cpu")
    token = _current.set(resources)
    try:
        with blas_threads(resources.threads):
            yield resources
    finally:
        _current.reset(token)
