"""Passes: analyses annotate a network, rewrites make a new one. One file each."""

import importlib
import pkgutil

from graphprune import plugins
from graphprune.passes import analysis, rewrite


def install() -> None:
    """Import every pass file once, then third-party ones; importing registers the passes."""
    for package in (analysis, rewrite):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")
    plugins.install("graphprune.passes")
