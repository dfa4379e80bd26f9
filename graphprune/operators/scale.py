"""Multiplication by a constant, element by element."""

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
class Scale(Linear):
    """scale * x; `scale` broadcasts to the sample `shape` (adjoint: the same product)."""

    scale: NDArray[np.float64]
    shape: tuple[int, ...]

    rounding = 1

    @property
    def multiply_adds(self) -> int:  # type: ignore[override]
        return prod(self.shape)

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return self.scale.size

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Mul", [inputs[0], b.constant(self.scale, "scale")])

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (self.forward(b, rows),)

    def absolute(self) -> "Scale":
        return replace(self, scale=np.abs(self.scale))

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return self.shape

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        return (used & np.broadcast_to(self.scale != 0, self.shape).reshape(-1),)

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array, diags_array

        return (csr_array(diags_array(np.broadcast_to(self.scale, self.shape).reshape(-1))),)
