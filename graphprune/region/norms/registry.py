"""The norms by name."""

from collections.abc import Mapping
from typing import TypeVar

from graphprune.plugins import Registry
from graphprune.region.norms.base import Norm

_REGISTRY: Registry[Norm] = Registry("norm", "graphprune.norms")
NORMS: Mapping[str, Norm] = _REGISTRY.own

C = TypeVar("C", bound=Norm)


def register_norm(norm: C) -> C:
    """Make a norm known under its name, and return it."""
    _REGISTRY.add(norm, norm)
    return norm


def known_norms() -> Mapping[str, Norm]:
    """Every norm by name, those of installed distributions too."""
    return _REGISTRY.known()


def norm_of(name: str) -> Norm:
    """The norm of this name.

    Raises
    ------
    GraphpruneError
        It is unknown; the message names the closest one.
    """
    return name if isinstance(name, Norm) else _REGISTRY[name]
