"""The norms by name."""

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
        plugins.install("graphprune.norms")
        check_known("norm", name, NORMS)
    return NORMS[name]
