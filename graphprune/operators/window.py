"""Attributes that convolutions and their transposes share."""

from collections.abc import Sequence
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


def same_pads(
    mode: str, sides: Sequence[int], kernel: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[int, ...]:  # fmt: skip
    """Pads of the modes SAME_UPPER and SAME_LOWER: begin of every axis, then end."""
    totals = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, s, k, d in zip(sides, strides, kernel, dilations, strict=True)
    ]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return (*small, *large) if mode == "SAME_UPPER" else (*large, *small)


def window_attributes(op: Windowed) -> dict[str, Attribute]:
    """Attributes of the ONNX node, Conv or ConvTranspose."""
    return {
        "strides": op.strides,
        "pads": op.pads,
        "dilations": op.dilations,
        "group": op.group,
        "kernel_shape": op.weight.shape[2:],
    }
