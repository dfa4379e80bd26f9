"""Transposed convolution of any rank."""

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.base import stored
from graphprune.operators.conv import Conv
from graphprune.operators.registry import register
from graphprune.operators.spectral import convolution_norm
from graphprune.operators.window import window_attributes

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@register
@dataclass(frozen=True, eq=False)
class ConvTranspose:
    """The adjoint of a convolution as a layer; its own adjoint is that convolution.

    Attributes
    ----------
    weight
        ``(in channels, out channels / group, *kernel)``, float64.
    bias
        (out channels,), float64.
    in_shape
        Sample shape of the input, ``(in channels, *spatial)``.
    pads
        Cells cut off: begin of every spatial axis, then end of every spatial axis.
    output_padding
        Cells added at the end of every spatial axis, fewer than the stride.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    in_shape: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    output_padding: tuple[int, ...]
    group: int

    def _emit(self, b: GraphBuilder, inputs: list[ir.Value]) -> ir.Value:
        attributes = window_attributes(self) | {"output_padding": self.output_padding}
        return b.op("ConvTranspose", inputs, attributes)

    @property
    def rounding(self) -> int:
        kernel = prod(self.weight.shape[2:])
        into = self.weight.shape[0] // self.group * kernel
        back = self.weight.shape[1] * kernel
        return int(max(into, back)) + 1

    def with_weight(self, weight: NDArray[np.float64]) -> "ConvTranspose":
        return replace(self, weight=weight, bias=np.zeros_like(self.bias))

    def spectral_norm(self, deadline: float) -> float:
        # The norm of the convolution that is its adjoint, whose image is this one's.
        kernels = self.weight.reshape(self.group, -1, *self.weight.shape[1:])
        after = self.output_shape(self.in_shape)[1:]
        sides = [-(-n // step) for n, step in zip(after, self.dilations, strict=True)]
        return convolution_norm(kernels, sides, deadline)

    @property
    def multiply_adds(self) -> int:
        return self.weight.size * prod(self.in_shape[1:])

    @property
    def parameters(self) -> int:
        return stored(self.weight, self.bias)

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        weight, bias = b.constant(self.weight, "weight"), b.constant(self.bias, "bias")
        return self._emit(b, [inputs[0], weight, bias])

    def linear(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return self._emit(b, [inputs[0], b.constant(self.weight, "weight")])

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        return (b.op("Conv", [rows, b.constant(self.weight, "weight")], window_attributes(self)),)

    def absolute(self) -> "ConvTranspose":
        return replace(self, weight=np.abs(self.weight), bias=np.abs(self.bias))

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        rank = len(self.strides)
        sides = (
            self.strides[i] * (self.in_shape[1 + i] - 1)
            + self.dilations[i] * (self.weight.shape[2 + i] - 1)
            + 1
            + self.output_padding[i]
            - self.pads[i]
            - self.pads[rank + i]
            for i in range(rank)
        )
        return (self.weight.shape[1] * self.group, *sides)

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        # Coarse: a channel is read where it has weight on a used channel of its group.
        channels = np.any(used.reshape(self.weight.shape[1] * self.group, -1), axis=1)
        per_group = channels.reshape(self.group, 1, -1)
        weighty = np.abs(self.weight).reshape(*self.weight.shape[:2], -1).max(axis=2) > 0
        into = weighty.reshape(self.group, -1, self.weight.shape[1])
        return (np.repeat((into & per_group).any(axis=2).reshape(-1), prod(self.in_shape[1:])),)

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array

        # By units a generator's layers would take minutes: tens of thousands each way.
        after = self.output_shape(self.in_shape)
        adjoint = Conv(
            self.weight, np.zeros(len(self.weight)), after, self.strides, self.pads,
            self.dilations, self.group,
        )  # fmt: skip
        return (csr_array(adjoint.matrices(after)[0].T),)
