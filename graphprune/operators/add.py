"""Sum of two computed values (residual connections)."""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.base import Linear
from graphprune.operators.registry import register

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@register
@dataclass(frozen=True)
class Add(Linear):
    """x1 + x2, equal sample shapes; the adjoint copies the rows to both."""

    rounding = 1

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Add", inputs)

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (rows, rows)

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        return (used, used)

    def absolute(self) -> "Add":
        return self

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array, eye_array

        unit = csr_array(eye_array(prod(shapes[0])))
        return (unit, unit)
