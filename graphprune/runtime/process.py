"""A process that works for this one, and how it sees this one: they send pickles over its pipes.

It may crash or run out of memory without taking anything along. Nothing of the parent is needed to
end it: when the pipe to its stdin closes, it goes.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from graphprune.runtime.threads import VARIABLES

Message = tuple[Any, ...]
# A worker, and its message; None: it has ended.
Inbox = queue.SimpleQueue[tuple["WorkerProcess", Message | None]]

# A worker is one core's worth of work.
ENVIRONMENT = dict.fromkeys(VARIABLES, "1")


def _path(entry: str) -> str:
    return entry or os.getcwd()


class WorkerProcess:
    """A running worker process.

    Parameters
    ----------
    arguments
        Arguments of the Python interpreter.
    inbox
        Gets its messages.

    Raises
    ------
    OSError
        It cannot be started.
    """

    def __init__(self, arguments: Sequence[str], inbox: Inbox) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            # -P: nothing beside a script is found as a module.
            [sys.executable, "-P", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            # It finds the modules that this process finds.
            env=os.environ | ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(map(_path, sys.path))},
        )  # fmt: skip
        threading.Thread(target=self._read, args=(inbox,), daemon=True).start()

    @property
    def mine(self) -> bool:
        """After a fork it is the parent's."""
        return self.owner == os.getpid()

    @property
    def dead(self) -> bool:
        return self.process.poll() is not None

    def _read(self, inbox: Inbox) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
            while True:
                inbox.put((self, pickle.load(self.process.stdout)))
        inbox.put((self, None))

    def send(self, *message: Any) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # gone: the reader says so
            pickle.dump(message, self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ending(self) -> str:
        """Return the way it ended, once it has."""
        code = self.process.wait()
        if code >= 0:
            return f"its process ended with code {code}"
        hungry = " (out of memory?)" if code == -9 else ""
        return f"its process was killed by signal {-code}{hungry}"


class Parent:
    """The process that a worker works for, as the worker sees it."""

    def __init__(self) -> None:
        # Ctrl-C is the parent's to hear.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Libraries may write to the descriptor of stdout, which is for messages.
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        self._lock = threading.Lock()

    def tell(self, *message: Any) -> None:
        with self._lock:
            pickle.dump(message, self._out, pickle.HIGHEST_PROTOCOL)
            self._out.flush()

    def read(self) -> Message:
        """The next message."""
        message: Message = pickle.load(sys.stdin.buffer)
        return message

    def listen(self, hear: Callable[..., None]) -> None:
        """Have messages heard, in a thread, until the parent is gone; then go as well."""
        threading.Thread(target=self._listen, args=(hear,), daemon=True).start()

    def _listen(self, hear: Callable[..., None]) -> None:
        try:
            while True:
                hear(*self.read())
        except BaseException:
            os._exit(0)
