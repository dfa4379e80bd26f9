"""A value by itself: segments end at it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.functions.calculus import Floats
from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register

Lines = tuple[Floats, Floats, Floats, Floats]


@register
@dataclass(frozen=True)
class Factor:
    """z: its bounds are wanted by the products that read it, or it is the sum of many products,
    which no segment above is to list.

    Attributes
    ----------
    interval_suffices
        Nothing reads its bounds but interval arithmetic.
    """

    interval_suffices: bool = False

    auxiliary: ClassVar[bool] = True
    piecewise_linear: ClassVar[bool] = False

    def value(self, z: Floats) -> Floats:
        return z

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Identity", inputs)

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        return rows

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]

    def slope_range(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        return np.ones_like(lower), np.ones_like(upper)

    def undefined(self, lower: Floats, upper: Floats) -> NDArray[np.bool_]:
        return np.zeros(lower.shape, dtype=bool)

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        return lower, upper

    def lines(self, lower: Floats, upper: Floats, method: str) -> Lines:
        one, zero = np.ones_like(lower), np.zeros_like(lower)
        return one, zero, one, zero
