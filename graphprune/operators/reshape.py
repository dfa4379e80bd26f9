"""Change of the sample shape (Reshape, Flatten, Squeeze, Unsqueeze)."""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.base import Linear
from graphprune.operators.registry import register

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@register
@dataclass(frozen=True)
class Reshape(Linear):
    """Sample shape `before` to `after`, row-major; the adjoint reshapes back."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Reshape", [inputs[0], b.ints([-1, *self.after])])

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (b.op("Reshape", [rows, b.ints([-1, *self.before])]),)

    def absolute(self) -> "Reshape":
        return self

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return self.after

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array, eye_array

        return (csr_array(eye_array(prod(self.before))),)
