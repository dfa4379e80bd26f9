"""Facts that analyses write on the values of a graph, keyed by their type.

Annotations live in ``value.meta`` and are therefore lost on save: what must survive goes into
the metadata of the exported model (see :mod:`graphprune.ir.export`).
"""

from typing import TypeVar

import onnx_ir as ir

T = TypeVar("T")


def annotate(value: ir.Value, fact: object) -> None:
    """Attach `fact` to `value`, replacing an earlier fact of the same type."""
    value.meta[f"graphprune.{type(fact).__name__}"] = fact


def annotation(value: ir.Value, kind: type[T]) -> T | None:
    """The fact of type `kind` on `value`, or None."""
    fact = value.meta.get(f"graphprune.{kind.__name__}")
    return fact if isinstance(fact, kind) else None
