"""Selection along one axis: Slice, Gather, Split, Expand, Tile, nearest Resize, border pads."""

from dataclasses import dataclass
from functools import cached_property
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
class Gather(Linear):
    """y[..., i, ...] = x[..., index[i], ...]; the adjoint adds up what each cell was read for.

    Attributes
    ----------
    axis
        Sample axis (0-based, without the batch axis).
    index
        (m,), int64, entries in [0, shape[axis]); repeats and gaps are fine.
    shape
        Sample shape of the input.
    """

    axis: int
    index: NDArray[np.int64]
    shape: tuple[int, ...]

    @cached_property
    def _steps(self) -> tuple[int, int] | None:
        """(first, step) where the index is an increasing arithmetic progression."""
        first = int(self.index[0])
        if len(self.index) == 1:
            return first, 1
        step = int(self.index[1]) - first
        even = step > 0 and np.array_equal(self.index, first + step * np.arange(len(self.index)))
        return (first, step) if even else None

    @cached_property
    def readers(self) -> NDArray[np.int64]:
        """(shape[axis], k): the outputs that read each cell, filled up with len(index)."""
        counts = np.bincount(self.index, minlength=self.shape[self.axis])
        order = np.argsort(self.index, kind="stable")
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        table = np.full((len(counts), max(1, int(counts.max()))), len(self.index), np.int64)
        table[self.index[order], place] = order
        return table

    @property
    def rounding(self) -> int:  # type: ignore[override]
        return int(self.readers.shape[1]) - 1

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        axis = self.axis + 1
        if self._steps is None:
            return b.op("Gather", [inputs[0], b.constant(self.index, "index")], {"axis": axis})
        first, step = self._steps
        last = first + step * (len(self.index) - 1) + 1
        ends = [b.ints([n]) for n in (first, last, axis, step)]
        return b.op("Slice", [inputs[0], *ends])

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        rank, axis = len(self.shape) + 1, self.axis + 1
        begin, end = [0] * rank, [0] * rank
        if self._steps is not None and self._steps[1] == 1:
            begin[axis] = self._steps[0]
            end[axis] = self.shape[self.axis] - self._steps[0] - len(self.index)
            return (b.op("Pad", [rows, b.ints([*begin, *end])]),)
        table = self.readers
        if np.any(table == len(self.index)):
            end[axis] = 1
            rows = b.op("Pad", [rows, b.ints([*begin, *end])])
        if table.shape[1] == 1:
            return (b.op("Gather", [rows, b.constant(table[:, 0], "readers")], {"axis": axis}),)
        read = b.op("Gather", [rows, b.constant(table, "readers")], {"axis": axis})
        return (b.op("ReduceSum", [read, b.ints([axis + 1])], {"keepdims": 0}),)

    def absolute(self) -> "Gather":
        return self

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array, eye_array

        cells = np.arange(prod(self.shape)).reshape(self.shape)
        read = np.take(cells, self.index, axis=self.axis).reshape(-1)
        return (csr_array(eye_array(prod(self.shape)))[read],)

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        after = np.moveaxis(used.reshape(self.output_shape(self.shape)), self.axis, 0)
        before = np.zeros((self.shape[self.axis], *after.shape[1:]), dtype=bool)
        np.logical_or.at(before, self.index, after)
        return (np.moveaxis(before, 0, self.axis).reshape(-1),)

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return (*self.shape[: self.axis], len(self.index), *self.shape[self.axis + 1 :])
