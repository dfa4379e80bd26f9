"""The rectified linear unit."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.registry import register

Floats = NDArray[np.float64]


@register
@dataclass(frozen=True)
class Relu:
    """max(z, 0).

    Attributes
    ----------
    auxiliary
        Legalisation made it (a maximum, the second end of a Clip): not a neuron of the source.
    end, upper
        The end of a clipping that it stands for, in z = x - end, or z = end - x where it is the
        upper one: files are written with that (:mod:`graphprune.operators.clip`).
    """

    auxiliary: bool = False
    end: float | None = None
    upper: bool = False

    piecewise_linear: ClassVar[bool] = True

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Relu", inputs)

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return shapes[0]

    def value(self, z: Floats) -> Floats:
        return np.maximum(z, 0.0)

    def slope_range(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        return np.heaviside(lower, 0.0), np.heaviside(upper, 0.0)

    def undefined(self, lower: Floats, upper: Floats) -> NDArray[np.bool_]:
        return np.zeros(lower.shape, dtype=bool)

    def derivative(self, b: GraphBuilder, z: ir.Value, rows: ir.Value) -> ir.Value:
        zero = b.scalar(0.0)
        return b.op("Where", [b.op("Greater", [z, zero]), rows, zero])

    def lines(
        self, lower: Floats, upper: Floats, method: str
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """The triangle's upper line; below it, its parallel through 0 (`fastlin`), the better of
        0 and z (CROWN's adaptive choice) or the other one of these two (`alternative`)."""
        unstable = (lower < 0) & (upper > 0)
        active = lower >= 0
        width = np.where(unstable, upper - lower, 1.0)
        slope = np.where(unstable, np.float32(upper / width).astype(np.float64), active * 1.0)
        # The products are exact in float64; only the sum rounds, by less than one float32 ulp.
        at_ends = np.maximum(-slope * lower, upper - slope * upper)
        rounded = np.nextafter(at_ends.astype(np.float32), np.float32(np.inf))
        offset = np.where(unstable, rounded.astype(np.float64), 0.0)
        if method.startswith("fastlin"):
            below = slope
        else:
            adaptive = (upper > -lower) != (method == "alternative")
            below = np.where(unstable, adaptive * 1.0, slope)
        return below, np.zeros_like(slope), slope, offset

    def interval(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        return np.maximum(lower, 0.0), np.maximum(upper, 0.0)
