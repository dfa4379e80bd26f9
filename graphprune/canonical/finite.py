"""Infinite and NaN numbers, judged where they are used.

Files hold many that never reach the scores: initialisers nobody reads, -inf that a MaxPool pads
with, ends of a Clip that mean "none", a branch of a Where that is never taken. What is left of the
network after folding and dead code has to be finite.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass

import numpy as np
import onnx_ir as ir

from graphprune.canonical.context import Array, Context, describe
from graphprune.errors import ModelError
from graphprune.ir.network import Operator


def check_finite(context: Context, graph: ir.Graph) -> None:
    """Refuse a canonical graph that computes with numbers that are not finite.

    Raises
    ------
    ModelError
        It names the node of the file, and the constant where the node reads it.
    """
    for error in not_finite(context, graph):
        raise error


def not_finite(context: Context, nodes: Iterable[ir.Node]) -> Iterator[ModelError]:
    """An error for every node of the file whose canonical nodes are not finite."""
    told = set()
    for built in nodes:
        node = context.lowered.get(built.outputs[0])
        if node is None or node in told:
            continue
        if (kind := _kind(_numbers(built.meta["operator"]))) is not None:
            told.add(node)
            yield ModelError(f"{context.label}: {_said(context, node, kind)}")


def _said(context: Context, node: ir.Node, kind: str) -> str:
    """The cause: a constant that the node reads, or the node itself."""
    for value in node.inputs:
        name = "" if value is None else str(value.name)
        array = context.constants.get(name)
        if array is not None and (found := _kind([array])) is not None:
            where = "initialiser" if value and value.is_initializer() else "constant"
            return (
                f"{where} '{name}' holds {found} values, with which {describe(node)} computes; no"
                " distance is defined for such a network"
            )
    return (
        f"{describe(node)}: computes with {kind} numbers; no distance is defined for such a network"
    )


def _numbers(op: Operator) -> list[Array]:
    """The weights and offsets of an operator."""
    values: list[object] = [getattr(op, f.name) for f in fields(op)] if is_dataclass(op) else []
    return [v for v in values if isinstance(v, np.ndarray)]


def _kind(arrays: list[Array]) -> str | None:
    """``NaN`` or ``infinite``, where some number is."""
    floats = [array for array in arrays if array.dtype.kind == "f"]
    if any(np.any(np.isnan(array)) for array in floats):
        return "NaN"
    return None if all(np.all(np.isfinite(array)) for array in floats) else "infinite"
