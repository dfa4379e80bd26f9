"""The norms by name."""

from collections.abc import Mapping
from typing import TypeVar

from graphprune import plugins
from graphprune.errors import check_known
from graphprune.region.norms.base import Norm

NORMS: dict[str, Norm] = {}

C = TypeVar("C", bound=Norm)


def register_norm(norm: C) -> C:
    """Make a norm known under its name, and return it."""
    NORMS[norm] = norm
    return norm


def known_norms() -> Mapping[str, Norm]:
    """Every norm by name, those of installed distributions too."""
    plugins.install("graphprune.norms")
    return NORMS


def norm_of(name: str) -> Norm:
    """The norm of this name.

    Raises
    ------
    GraphpruneError
        It is unknown; the message names the closest one.
    """
    if isinstance(name, Norm):
        return name
    if name not in NORMS:
        check_known("norm", name, known_norms())
    return NORMS[name]
