"""Legalisation rules: one file per operator family, registered by `legalises`."""

import importlib
import pkgutil


def install() -> None:
    """Import every rule file once; importing registers its rules."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
