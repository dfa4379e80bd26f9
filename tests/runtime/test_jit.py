"""Compiled kernels: which of those kept on disk are still good, and what happens without a disk."""

import importlib
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphprune.progress import quiet
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
    said = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert sum("NUMBA_CACHE_DIR" in line for line in said) == 1


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
    assert said == [jit.COMPILING]


@pytest.mark.usefixtures("nothing_kept")
def test_compiling_for_a_call_from_python_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    jit._log.cache_clear()

    @jit.kernel
    def fourth(x: float) -> float:
        return x / 4.0

    fourth(1.0)
    with jit.told_of_compiling(quiet):
        fourth(1)
    assert [r.message for r in caplog.records if r.message == jit.COMPILING] == [jit.COMPILING]


@pytest.mark.usefixtures("nothing_kept")
def test_a_part_is_called_by_kernels_only() -> None:
    @jit.kernel_part
    def fifth(x: float) -> float:
        return x / 5.0

    @jit.kernel
    def twice(x: float) -> float:
        return fifth(x) * 2.0

    assert twice(10.0) == 4.0
    with pytest.raises(TypeError, match="fifth is called by kernels only"):
        fifth(10.0)


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two modules: a kernel, and one that calls it with a number of a third's."""
    (tmp_path / "a_number.py").write_text("FACTOR = 2.0\n")
    (tmp_path / "a_type.py").write_text(
        "from typing import NamedTuple\n\nclass Pair(NamedTuple):\n    x: float\n    y: float\n"
    )
    (tmp_path / "a_callee.py").write_text(
        "from graphprune.runtime.jit import kernel\n@kernel\ndef inner(x):\n    return x + 1.0\n"
    )
    (tmp_path / "a_caller.py").write_text(
        "from a_callee import inner\nfrom a_number import FACTOR\nfrom a_type import Pair\n"
        "from graphprune.runtime.jit import kernel\n"
        "@kernel\ndef outer(pair):\n    return FACTOR * inner(pair.x)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def outer_of(pair: Path) -> tuple[float, int]:
    """The result of a new process' kernel on (3, 5), and how many were read from disk for it."""
    importlib.invalidate_caches()
    jit._digest.cache_clear()
    for name in ("a_number", "a_type", "a_callee", "a_caller"):
        sys.modules.pop(name, None)
    # Python's own check of compiled files is as coarse as Numba's.
    for kept in pair.glob("__pycache__/*.pyc"):
        kept.unlink()
    caller = importlib.import_module("a_caller")
    result = caller.outer(caller.Pair(3.0, 5.0))
    return result, sum(caller.outer.stats.cache_hits.values())


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("a_callee", "x + 1.0", "x + 2.0", 10.0),
        ("a_number", "2.0", "3.0", 12.0),
        ("a_type", "x: float\n    y: float", "y: float\n    x: float", 12.0),
        ("a_caller", "FACTOR * inner", "inner", 4.0),
    ],
)
def test_a_kernel_is_compiled_anew_when_a_file_that_it_needs_changes(
    pair: Path, file: str, old: str, new: str, expected: float
) -> None:
    assert outer_of(pair) == (8.0, 0)
    assert outer_of(pair) == (8.0, 1)
    path = pair / f"{file}.py"
    path.write_text(path.read_text().replace(old, new))
    assert outer_of(pair) == (expected, 0)
    assert outer_of(pair) == (expected, 1)


def test_a_kept_kernel_of_a_type_that_is_gone_is_compiled_anew(pair: Path) -> None:
    assert outer_of(pair) == (8.0, 0)
    for file, old, new in (
        ("a_type", "class Pair", "class Two"),
        ("a_caller", "import Pair", "import Two as Pair"),
    ):
        path = pair / f"{file}.py"
        path.write_text(path.read_text().replace(old, new))
    assert outer_of(pair) == (8.0, 0)
    assert outer_of(pair) == (8.0, 1)
