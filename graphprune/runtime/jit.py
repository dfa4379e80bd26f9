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

from graphprune.progress import Progress, quiet

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
T = TypeVar("T", bound=tuple[Any, ...])

# Sums in any order, so that they become vector instructions; not-a-number and infinity keep their
# meaning: the callers look for them.
_FAST = {"contract", "reassoc", "nsz"}
# Only kernels call it, so nothing is compiled by which Python could: that is half of the time for
# one whose arguments are tuples of many arrays.
_PART = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

COMPILING = "compiling kernels for this machine, once (up to a minute)"

log = logging.getLogger("graphprune")


def kernel(function: F) -> F:
    """Compile without the GIL; kept on disk where some cache folder can be written."""
    return _compile(function)


def kernel_part(function: F) -> F:
    """`kernel` that only kernels call, never Python."""
    return _compile(function, **_PART)


def fast_kernel(function: F) -> F:
    """`kernel` with sums in any order."""
    return _compile(function, fastmath=_FAST)


def fast_part(function: F) -> F:
    """`fast_kernel` that only kernels call, never Python."""
    return _compile(function, fastmath=_FAST, **_PART)


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
    """Say so when a kernel is compiled, not read from disk: that takes more than a moment.

    Parameters
    ----------
    progress
        Told once; where it is `quiet`, the log has it as everywhere else.
    """
    teller = _log if progress is quiet else cache(progress)
    _tellers.append(teller)
    try:
        yield
    finally:
        _tellers.remove(teller)


@cache
def _log(text: str) -> None:
    """Tell a person who calls from Python: nothing else would, and the first call takes long."""
    log.warning("%s", text)


# Who is told now, innermost last.
_tellers: list[Progress] = [_log]


class _Compilations(event.Listener):
    def on_start(self, _: object) -> None:
        _tellers[-1](COMPILING)

    def on_end(self, _: object) -> None: ...


cast(Any, event).register("numba:compile", _Compilations())


class _Part(CPUDispatcher):
    """A kernel that only kernels call."""

    def __call__(self, *_: object, **__: object) -> None:
        """Refuse, since the process would crash.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(f"{self.py_func.__name__} is called by kernels only; `kernel` is for both")


def _compile(function: F, **options: Any) -> F:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache folder
        _say_uncached()
        compiled = numba.njit(**options)(function)
    if not hasattr(compiled, "_cache"):  # where NUMBA_DISABLE_JIT is set
        return cast(F, compiled)
    if "no_cpython_wrapper" in options:
        compiled.__class__ = _Part
    kept: Any = getattr(compiled._cache, "_cache_file", None)
    if kept is not None:
        # Numba compares both with those kept beside a compiled function. The version comes first:
        # the rest may name types that are gone, and is read only where that is equal.
        stamp = _stamp(function)
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
