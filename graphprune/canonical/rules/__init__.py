"""Legalisation rules: one file per operator family, registered by `legalises`.

A node of the file's graph comes in, canonical operators that compute its outputs go out.

Read first: ``trivial.py``, ``activation.py``, ``convolution.py``.
"""

import importlib
import pkgutil

from graphprune import plugins


def install() -> None:
    """Import every rule file once, then third-party ones; importing registers the rules."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    plugins.install("graphprune.operators")
