"""Product of sample matrices with a constant matrix on either side."""

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.base import Linear
from graphprune.operators.registry import register
from graphprune.operators.spectral import matrix_norm

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@register
@dataclass(frozen=True, eq=False)
class MatMul(Linear):
    """x W (`left` False) or W x (`left` True) over the last two sample axes.

    Attributes
    ----------
    weight
        (k, m), or (m, k) when `left`; float64.
    left
        Side of the constant.
    shape
        Sample shape of the input, at least two axes.
    """

    weight: NDArray[np.float64]
    left: bool
    shape: tuple[int, ...]

    @property
    def rounding(self) -> int:  # type: ignore[override]
        return int(max(self.weight.shape))

    def with_weight(self, weight: NDArray[np.float64]) -> "MatMul":
        return replace(self, weight=weight)

    def spectral_norm(self, deadline: float) -> float:
        return matrix_norm(self.weight, deadline)

    @property
    def multiply_adds(self) -> int:  # type: ignore[override]
        inner = self.shape[-2] if self.left else self.shape[-1]
        return prod(self.shape) // max(inner, 1) * self.weight.size

    @property
    def parameters(self) -> int:  # type: ignore[override]
        return self.weight.size

    def _product(self, b: GraphBuilder, x: ir.Value, weight: NDArray[np.float64]) -> ir.Value:
        constant = b.constant(weight, "weight")
        return b.op("MatMul", [constant, x] if self.left else [x, constant])

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return self._product(b, inputs[0], self.weight)

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (self._product(b, rows, np.ascontiguousarray(self.weight.T)),)

    def absolute(self) -> "MatMul":
        return replace(self, weight=np.abs(self.weight))

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        return (np.full(prod(self.shape), bool(used.any())),)

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        if self.left:
            return (*self.shape[:-2], self.weight.shape[0], self.shape[-1])
        return (*self.shape[:-1], self.weight.shape[1])

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array, eye_array, kron

        if self.left:
            matrix = csr_array(kron(csr_array(self.weight), eye_array(self.shape[-1])))
            leading = self.shape[:-2]
        else:
            matrix, leading = csr_array(self.weight.T), self.shape[:-1]
        return (csr_array(kron(eye_array(prod(leading)), matrix)),)
