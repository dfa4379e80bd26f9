"""The registry of canonical operators; tests and documentation run over it."""

from typing import TypeVar

from graphprune.ir.network import Operator

REGISTRY: dict[str, type[Operator]] = {}

C = TypeVar("C", bound=type[Operator])


def register(cls: C) -> C:
    """Class decorator: make an operator known under its class name."""
    REGISTRY[cls.__name__] = cls
    return cls
