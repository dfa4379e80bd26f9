"""Ctrl-C: once ends the run with what is finished, twice ends it at once."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children
from types import FrameType


@dataclass(eq=False)
class Interrupt:
    """State of Ctrl-C: the user asked to stop.

    Attributes
    ----------
    requested
        Ctrl-C was pressed.
    open
        Inside work that a KeyboardInterrupt may break; elsewhere (a result being saved) the
        first Ctrl-C only sets `requested`.
    """

    requested: bool = False
    open: bool = False

    @contextmanager
    def breakable(self) -> Iterator[None]:
        """Work that the first Ctrl-C breaks with a KeyboardInterrupt."""
        if self.requested:
            raise KeyboardInterrupt
        self.open = True
        try:
            yield
        finally:
            self.open = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            _leave()
        self.requested = True
        if self.open:
            raise KeyboardInterrupt


def _leave() -> None:
    """End now: workers too, and with the terminal's cursor visible again."""
    for process in active_children():
        process.kill()
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h\n")
    os._exit(130)


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Hear Ctrl-C while the block runs (in the main thread; elsewhere nothing changes)."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt._handle)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
