"""Kernels where nothing can be kept on disk, as in a read-only installation."""

import logging
import tempfile
from typing import Any

import pytest

from graphprune.backends import jit


def test_a_read_only_installation_compiles_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    # What Numba asks whether a folder can be written; root may write anywhere.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    jit._say_uncached.cache_clear()

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
    jit._say_uncached.cache_clear()
