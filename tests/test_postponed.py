"""SymPy is not imported by what graphprune does, and is whole where somebody asks for it."""

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys
import graphprune as gp
network = gp.load("models/toy-2d.onnx")
gp.attack(network, gp.Anchor([0.3, 0.4]))
assert "sympy.core" not in sys.modules, "imported"
import onnx_ir
assert onnx_ir.SymbolicDim("n") * 2 == onnx_ir.SymbolicDim("2*n"), "shapes"
assert "sympy.core" in sys.modules
import sympy
assert sympy.Symbol("n") + 0 == sympy.Symbol("n")
"""


def test_sympy_waits_until_it_is_needed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True, text=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
