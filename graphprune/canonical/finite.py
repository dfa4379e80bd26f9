"""Infinite and NaN numbers, judged where they are used.

Files hold many that never reach the scores: initialisers nobody reads, -inf that a MaxPool pads
with, ends of a Clip that mean "none", a branch of a Where that is never taken. What is left of the
network after folding and dead code has to be finite.
"""

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
    for built in graph:
        if (kind := _kind(_numbers(built.meta["operator"]))) is None:
            continue
        node = context.lowered[built.outputs[0]]
        for value in node.inputs:
            name = "" if value is None else str(value.name)
            array = context.constants.get(name)
            if array is not None and (found := _kind([array])) is not None:
                where = "initialiser" if value and value.is_initializer() else "constant"
                raise ModelError(
                    f"{context.label}: {where} '{name}' holds {found} values, with which"
                    f" {describe(node)} computes; no distance is defined for such a network"
                )
        raise ModelError(
            f"{context.label}: {describe(node)}: computes with {kind} numbers; no distance is"
            " defined for such a network"
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
