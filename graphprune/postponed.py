"""Imports that wait until something needs them: symbolic algebra, for half of a command's start.

``onnx_ir`` imports SymPy for arithmetic with symbolic shapes, which graphprune never does, and
SymPy takes longer to import than everything else together.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_IMPORTER = "onnx_ir._core"
_POSTPONED = ("sympy", "onnx_ir._symbolic_shapes")


class _Postponing:
    """A finder that gives modules which load themselves when an attribute of them is read.

    Only while `_IMPORTER` is being imported: the same module imported by anyone else is as ever.
    Where the importer's parts have other names one day, nothing is postponed.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _POSTPONED:
            return None
        importer = getattr(sys.modules.get(_IMPORTER), "__spec__", None)
        if not getattr(importer, "_initializing", False):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def postpone() -> None:
    """Let the modules above wait, where ``onnx_ir`` is not imported yet."""
    if _IMPORTER not in sys.modules:
        sys.meta_path.insert(0, _Postponing())
