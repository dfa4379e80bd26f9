"""Threat models by name."""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from graphprune.plugins import Registry
from graphprune.threats.base import ThreatModel

THREATS: Registry[type[ThreatModel]] = Registry("threat model", "graphprune.threats")

M = TypeVar("M", bound=type[ThreatModel])


def register_threat(cls: M) -> M:
    """Make a threat model known by its name.

    Raises
    ------
    PluginError
        Another one has the name.
    """
    THREATS.add(cls.name, cls)
    return cls


def known_threats() -> Mapping[str, type[ThreatModel]]:
    """Every threat model by name: the files of this package, then third-party ones."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"graphprune.threats.{module.name}")
    return THREATS.known()
