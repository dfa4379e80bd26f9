"""Zero padding."""

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
class Pad(Linear):
    """`begin` and `end` zero cells around every sample axis of `shape`; the adjoint crops."""

    begin: tuple[int, ...]
    end: tuple[int, ...]
    shape: tuple[int, ...]

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Pad", [inputs[0], b.ints([0, *self.begin, 0, *self.end])])

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        ends = [first + n for first, n in zip(self.begin, self.shape, strict=True)]
        axes = list(range(1, len(self.shape) + 1))
        return (b.op("Slice", [rows, b.ints(self.begin), b.ints(ends), b.ints(axes)]),)

    def absolute(self) -> "Pad":
        return self

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array

        out = self.output_shape(self.shape)
        rows = np.arange(prod(out)).reshape(out)[self.inside].reshape(-1)
        entries = (np.ones(len(rows)), (rows, np.arange(len(rows))))
        return (csr_array(entries, shape=(prod(out), len(rows))),)

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        return (used.reshape(self.output_shape(self.shape))[self.inside].reshape(-1),)

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where the input lies in the output."""
        return tuple(slice(p, p + n) for p, n in zip(self.begin, self.shape, strict=True))

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        sizes = zip(self.begin, self.shape, self.end, strict=True)
        return tuple(first + n + last for first, n, last in sizes)
