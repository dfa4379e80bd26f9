"""Attributes that convolutions and their transposes share."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.ir.builder import Attribute


class Windowed(Protocol):
    """An operator that moves a kernel over the spatial axes."""

    @property
    def weight(self) -> NDArray[np.float64]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def pads(self) -> tuple[int, ...]: ...
    @property
    def dilations(self) -> tuple[int, ...]: ...
    @property
    def group(self) -> int: ...


def window_attributes(op: Windowed) -> dict[str, Attribute]:
    """Attributes of the ONNX node, Conv or ConvTranspose."""
    return {
        "strides": op.strides,
        "pads": op.pads,
        "dilations": op.dilations,
        "group": op.group,
        "kernel_shape": op.weight.shape[2:],
    }
