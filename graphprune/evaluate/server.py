"""The server that worker processes are forked from, where the system has such.

Importing everything and reading compiled kernels takes a process two seconds. The server does it
once, and each worker, also one that follows another that died, is there in a moment. Forking this
process would not do: ONNX Runtime's threads do not survive it.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext

from graphprune.runtime.threads import VARIABLES

# A worker imports the module that this process was started as, which mostly is the first.
_MODULES = ("graphprune.cli.app", "graphprune.evaluate.served")


def worker_context(threads: int) -> BaseContext:
    """Where workers of so many threads come from; begins to prepare for them.

    Elsewhere than on Linux they are spawned: Apple's libraries do not survive a fork.
    """
    # BLAS reads its number of threads when it is loaded.
    for name in VARIABLES:
        os.environ.setdefault(name, str(threads))
    if not sys.platform.startswith("linux") or "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    from multiprocessing import forkserver

    context = get_context("forkserver")
    context.set_forkserver_preload([name for name in _MODULES if _used(name)])
    with _deaf():
        forkserver.ensure_running()
    return context


def _used(name: str) -> bool:
    """The server needs no command line where this process has none."""
    return name == _MODULES[-1] or name in sys.modules


@contextmanager
def _deaf() -> Iterator[None]:
    """Have what is started here never hear Ctrl-C, which this process hears afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
