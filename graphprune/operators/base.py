"""Defaults of affine operators that move data without weights, and the count of weights."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder


def stored(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> int:
    """Number of weights and offsets; offsets that are all zero are what lowering filled in."""
    return weight.size + (bias.size if bias.any() else 0)


class Linear:
    """Mixin for operators without offset: `linear` is `forward`, nothing is rounded or stored."""

    rounding = 0
    multiply_adds = 0
    parameters = 0

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        raise NotImplementedError

    def linear(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return self.forward(b, *inputs)

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        return (used,)
