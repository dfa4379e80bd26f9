"""Kernels where nothing can be kept on disk, as in a read-only installation."""

import logging
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from graphprune.runtime import jit


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels made here are not kept on disk."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    # What Numba asks whether a folder can be written; root may write anywhere.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    jit._say_uncached.cache_clear()
    yield
    jit._say_uncached.cache_clear()


@pytest.mark.usefixtures("nothing_kept")
def test_a_read_only_installation_compiles_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @jit.kernel
    def double(x: float) -> float:
        return 2.0 * x

    @jit.fast_kernel
    def half(x: float) -> float:
        return 0.5 * x

    assert (double(3.0), half(3.0)) == (6.0, 1.5)
    said = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 1
    assert "NUMBA_CACHE_DIR" in said[0].message


@pytest.mark.usefixtures("nothing_kept")
def test_compiling_is_told_and_nothing_else() -> None:
    @jit.kernel
    def third(x: float) -> float:
        return x / 3.0

    said: list[str] = []
    with jit.told_of_compiling(said.append):
        third(1.0)
        assert len(said) == 1
        third(2.0)
    third(1)  # of another type
    assert said == ["compiling kernels for this machine, once (half a minute)"]
