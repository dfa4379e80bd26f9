"""Compiling loops with Numba; importing this module imports it: do it where kernels are defined.

Compiled functions are kept on disk. The date of the file that defines a kernel decides whether
its kept code is still good, so kernels that call each other are best kept in one file.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import numba
from numba.core import event

from graphprune.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])

log = logging.getLogger("graphprune")


def kernel(function: F) -> F:
    """Compile without the GIL; kept on disk where some cache folder can be written."""
    return _compile(function)


def fast_kernel(function: F) -> F:
    """`kernel` with sums in any order, so that they become vector instructions.

    Not-a-number and infinity keep their meaning: the callers look for them.
    """
    return _compile(function, fastmath={"contract", "reassoc", "nsz"})


@contextmanager
def told_of_compiling(progress: Progress) -> Iterator[None]:
    """Say so when a kernel is compiled, not read from disk: that takes more than a moment."""

    class Listener(event.Listener):
        def on_start(self, _: object) -> None:
            progress("compiling kernels for this machine, once (half a minute)")

        def on_end(self, _: object) -> None: ...

    with event.install_listener("numba:compile", Listener()):
        yield


def _compile(function: F, **options: Any) -> F:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        return cast(F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no writable cache folder
        _say_uncached()
        return cast(F, numba.njit(**options)(function))


@cache
def _say_uncached() -> None:
    log.warning(
        "no folder can be written to keep compiled kernels in: every process compiles them anew"
        " (half a minute); NUMBA_CACHE_DIR names a folder for them"
    )
