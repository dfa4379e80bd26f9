"""Defaults shared by affine operators: a pure data movement without weights."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder


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
