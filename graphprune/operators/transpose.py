"""Permutation of the sample axes."""

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
class Transpose(Linear):
    """Sample axes of `shape` permuted by `perm` (0-based, without the batch axis)."""

    perm: tuple[int, ...]
    shape: tuple[int, ...]

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Transpose", [inputs[0]], {"perm": [0, *(p + 1 for p in self.perm)]})

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        inverse = [int(p) + 1 for p in np.argsort(self.perm)]
        return (b.op("Transpose", [rows], {"perm": [0, *inverse]}),)

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        after = used.reshape(self.output_shape(self.shape))
        return (after.transpose(np.argsort(self.perm)).reshape(-1),)

    def absolute(self) -> "Transpose":
        return self

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.shape[p] for p in self.perm)

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array, eye_array

        order = np.arange(prod(self.shape)).reshape(self.shape).transpose(self.perm).reshape(-1)
        return (csr_array(eye_array(prod(self.shape)))[order],)
