"""The quick tests, which ``-m "not slow"`` selects."""

import ast
from pathlib import Path

from tests.conftest import SLOW


def test_every_slow_test_exists() -> None:
    names = {
        node.name
        for path in Path(__file__).parent.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert not SLOW - names, "slow.txt names tests that are gone"
