"""Norms: one immutable object in one file each, found through the registry.

`norm_of` turns the name that people write into the object; everything that depends on a norm is a
method of it. A new norm is a file here, or a module that a distribution names in the group
``graphprune.norms`` of its entry points. Read `base` first, then `linf`.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Literal, TypeAlias

from graphprune.region.norms.base import Norm, WrittenGain
from graphprune.region.norms.graph import Graph
from graphprune.region.norms.linf import LINF
from graphprune.region.norms.registry import NORMS, known_norms, norm_of, register_norm

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

# The type of options that name a norm: their help lists the names.
if TYPE_CHECKING:
    NormName: TypeAlias = str
else:
    NormName = Literal[tuple(NORMS)]

__all__ = [
    "LINF",
    "NORMS",
    "Graph",
    "Norm",
    "NormName",
    "WrittenGain",
    "known_norms",
    "norm_of",
    "register_norm",
]
