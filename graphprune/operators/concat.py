"""Concatenation of computed values."""

from dataclasses import dataclass
from itertools import accumulate
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
class Concat(Linear):
    """Inputs of sample shapes `shapes` along sample `axis`; the adjoint slices the rows."""

    axis: int
    shapes: tuple[tuple[int, ...], ...]

    @property
    def _starts(self) -> list[int]:
        return [0, *accumulate(shape[self.axis] for shape in self.shapes)]

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Concat", inputs, {"axis": self.axis + 1})

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        starts, axis = self._starts, b.ints([self.axis + 1])
        return tuple(
            b.op("Slice", [rows, b.ints([starts[i]]), b.ints([starts[i + 1]]), axis])
            for i in range(len(self.shapes))
        )

    def absolute(self) -> "Concat":
        return self

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array

        out = self.output_shape(*self.shapes)
        cells = np.arange(prod(out)).reshape(out)
        blocks = np.split(cells, self._starts[1:-1], axis=self.axis)
        entries = ((np.ones(b.size), (b.reshape(-1), np.arange(b.size))) for b in blocks)
        sizes = (b.size for b in blocks)
        return tuple(
            csr_array(e, shape=(prod(out), n)) for e, n in zip(entries, sizes, strict=True)
        )

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        parts = np.split(
            used.reshape(self.output_shape(*self.shapes)), self._starts[1:-1], axis=self.axis
        )
        return tuple(part.reshape(-1) for part in parts)

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        first = self.shapes[0]
        return (*first[: self.axis], self._starts[-1], *first[self.axis + 1 :])
