"""Fully connected layer."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.base import stored
from graphprune.operators.registry import register
from graphprune.operators.spectral import matrix_norm

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@register
@dataclass(frozen=True, eq=False)
class Dense:
    """W x + b for sample vectors.

    Attributes
    ----------
    weight
        (outputs, inputs), float64.
    bias
        (outputs,), float64.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @property
    def rounding(self) -> int:
        return int(max(self.weight.shape)) + 1

    def with_weight(self, weight: NDArray[np.float64]) -> "Dense":
        return replace(self, weight=weight, bias=np.zeros_like(self.bias))

    def spectral_norm(self, deadline: float) -> float:
        return matrix_norm(self.weight, deadline)

    @property
    def multiply_adds(self) -> int:
        return self.weight.size

    @property
    def parameters(self) -> int:
        return stored(self.weight, self.bias)

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        weight, bias = b.constant(self.weight, "weight"), b.constant(self.bias, "bias")
        return b.op("Gemm", [inputs[0], weight, bias], {"transB": 1})

    def linear(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Gemm", [inputs[0], b.constant(self.weight, "weight")], {"transB": 1})

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (b.op("MatMul", [rows, b.constant(self.weight, "weight")]),)

    def absolute(self) -> "Dense":
        return replace(self, weight=np.abs(self.weight), bias=np.abs(self.bias))

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        if shapes and shapes[0] != self.weight.shape[1:]:
            raise ValueError(f"a layer for {self.weight.shape[1:]} reads {shapes[0]}")
        return (self.weight.shape[0],)

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        return (np.any(self.weight[used] != 0, axis=0),)

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array

        return (csr_array(self.weight),)
