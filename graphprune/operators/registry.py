"""The registry of canonical operators; tests and documentation run over it."""

from typing import TypeVar

from graphprune.errors import PluginError
from graphprune.ir.network import Activation, AffineOperator, Operator

REGISTRY: dict[str, type[Operator]] = {}

C = TypeVar("C", bound=type[Operator])


def register(cls: C) -> C:
    """Class decorator: make an operator known under its class name.

    Raises
    ------
    PluginError
        It lacks something that affine operators or activations have.
    """
    missing = min(
        (sorted(_asked(kind) - _given(cls)) for kind in (AffineOperator, Activation)), key=len
    )
    if missing:
        raise PluginError(f"operator '{cls.__name__}' lacks {', '.join(missing)}")
    REGISTRY[cls.__name__] = cls
    return cls


def _asked(kind: type) -> set[str]:
    """The members of a protocol."""
    return {name for base in kind.__mro__ for name in vars(base) if not name.startswith("_")}


def _given(cls: type) -> set[str]:
    """The members of a class, fields and annotated attributes without a default too."""
    return set(dir(cls)).union(*(getattr(base, "__annotations__", {}) for base in cls.__mro__))
