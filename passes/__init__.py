"""Passes: analyses find facts and annotate a network, rewrites make a new one. One file each.

A pass is a frozen dataclass whose fields are its options; it takes a :class:`State` and returns
one. This package exports what the author of a pass needs.

Read first: `base.py` (the protocol, the state, promises), `analysis/bounds.py` (an analysis),
`rewrite/prune_stable.py` (a rewrite). Algorithms live in `graphprune/transforms`, `bounds`,
`attacks` and `substitutes`.
"""

import importlib
import pkgutil

from graphprune import plugins
from graphprune.option_text import OneOf
from graphprune.passes import analysis, rewrite
from graphprune.passes.base import (
    Facts,
    Pass,
    Promise,
    Rewrite,
    State,
    provides,
    record,
    register_pass,
)

__all__ = [
    "Facts",
    "OneOf",
    "Pass",
    "Promise",
    "Rewrite",
    "State",
    "install",
    "provides",
    "record",
    "register_pass",
]


def install() -> None:
    """Import every pass file once, then third-party ones; importing registers the passes."""
    for package in (analysis, rewrite):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    plugins.install("graphprune.passes")
