"""Sum over axes (ReduceSum, ReduceMean, GlobalAveragePool)."""

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
class ReduceSum(Linear):
    """Sum over sample `axes` of `shape`, kept as axes of size 1; the adjoint copies the rows."""

    axes: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def rounding(self) -> int:  # type: ignore[override]
        return prod(self.shape[axis] for axis in self.axes)

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        axes = b.ints([axis + 1 for axis in self.axes])
        return b.op("ReduceSum", [inputs[0], axes], {"keepdims": 1})

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (b.op("Expand", [rows, b.ints([1, *self.shape])]),)

    def absolute(self) -> "ReduceSum":
        return self

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array

        out = self.output_shape(self.shape)
        rows = np.broadcast_to(np.arange(prod(out)).reshape(out), self.shape).reshape(-1)
        entries = (np.ones(len(rows)), (rows, np.arange(len(rows))))
        return (csr_array(entries, shape=(prod(out), len(rows))),)

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        after = used.reshape(self.output_shape(self.shape))
        return (np.broadcast_to(after, self.shape).reshape(-1),)

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(1 if axis in self.axes else n for axis, n in enumerate(self.shape))
