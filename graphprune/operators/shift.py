"""Addition of a constant, element by element."""

from dataclasses import dataclass, replace
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
@dataclass(frozen=True, eq=False)
class Shift(Linear):
    """x + offset; `offset` broadcasts to the sample `shape` (adjoint: the identity)."""

    offset: NDArray[np.float64]
    shape: tuple[int, ...]

    rounding = 1

    @property
    def multiply_adds(self) -> int:  # type: ignore[override]
        return prod(self.shape)

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return self.offset.size

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Add", [inputs[0], b.constant(self.offset, "offset")])

    def linear(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return inputs[0]

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (rows,)

    def absolute(self) -> "Shift":
        return replace(self, offset=np.abs(self.offset))

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return self.shape

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array, eye_array

        return (csr_array(eye_array(prod(self.shape))),)
