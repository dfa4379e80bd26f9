"""The brute-force benchmark sees a lower end that is too large, and accepts a true one."""

from dataclasses import replace
from typing import Any

import pytest

import graphprune as gp
from benchmarks import brute


def test_a_lower_end_that_is_too_large_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    number, seed = 5, 0
    assert brute.examine(number, seed, None) == ("linf: exact", [])
    true = gp.distance

    def too_large(*args: Any, **options: Any) -> gp.Distance:
        found = true(*args, **options)
        assert found.upper is not None
        return replace(found, lower=1.5 * found.upper)

    monkeypatch.setattr(gp, "distance", too_large)
    _, said = brute.examine(number, seed, None)
    assert any(text.startswith("lower end") for text in said)
