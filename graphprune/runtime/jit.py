"""Compiling loops with Numba; importing this module imports it: do it where kernels are defined.

Compiled functions are kept on disk. Numba itself looks at the date of the file that defines a
kernel, and would go on with a kernel into which an older version of another file's kernel was
compiled. Kernels made here are compiled anew when the text of any file changes that they take
kernels, types or constants from.
"""

import hashlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core import event
from numba.core.registry import CPUDispatcher

from graphprune.progress import Progress

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T", bound=tuple[Any, ...])

log = logging.getLogger("graphprune")


def kernel(function: F) -> F:
    """Compile without the GIL; kept on disk where some cache folder can be written."""
    return _compile(function)


def fast_kernel(function: F) -> F:
    """`kernel` with sums in any order, so that they become vector instructions.

    Not-a-number and infinity keep their meaning: the callers look for them.
    """
    return _compile(function, fastmath={"contract", "reassoc", "nsz"})


def named(result: type[T]) -> Callable[[Callable[P, tuple[Any, ...]]], Callable[P, T]]:
    """Decorator of a kernel for Python to call: its plain tuple becomes a named one here.

    A kernel must not return a named tuple to Python itself. Making one runs Python code, in which
    Ctrl-C may be heard, and compiled code does not expect an exception there: the process crashes.
    """

    def wrap(compiled: Callable[P, tuple[Any, ...]]) -> Callable[P, T]:
        @wraps(compiled)
        def called(*args: P.args, **kwargs: P.kwargs) -> T:
            return result(*compiled(*args, **kwargs))

        return called

    return wrap


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
        compiled: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache folder
        _say_uncached()
        return cast(F, numba.njit(**options)(function))
    if hasattr(compiled, "_cache"):  # not where NUMBA_DISABLE_JIT is set
        # Numba compares both with those kept beside a compiled function. The version comes first:
        # the rest may name types that are gone, and is read only where that is equal.
        kept, stamp = compiled._cache._cache_file, _stamp(function)
        kept._version, kept._source_stamp = f"{kept._version} {stamp}", stamp
    return cast(F, compiled)


def _stamp(function: Callable[..., Any]) -> str:
    """A digest of everything that a function may be compiled from."""
    known: dict[str, str] = {}
    _collect(function.__module__, function.__globals__, known)
    return hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()


def _collect(module: str, names: dict[str, Any], known: dict[str, str]) -> None:
    """Note a module's text, the constants it has from elsewhere, and the modules it uses."""
    file = names.get("__file__")
    known[module] = _digest(file) if file else ""
    for name, value in list(names.items()):
        named = isinstance(value, tuple) and hasattr(value, "_fields")
        if named or isinstance(value, int | float):
            known[f"{module}.{name}"] = repr(value)
            continue
        if isinstance(value, CPUDispatcher):
            other = value.py_func.__module__
        elif isinstance(value, type) and issubclass(value, tuple) and hasattr(value, "_fields"):
            other = value.__module__
        else:
            continue
        if other not in known and other in sys.modules:
            _collect(other, vars(sys.modules[other]), known)


@cache
def _digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@cache
def _say_uncached() -> None:
    log.warning(
        "no folder can be written to keep compiled kernels in: every process compiles them anew"
        " (half a minute); NUMBA_CACHE_DIR names a folder for them"
    )
