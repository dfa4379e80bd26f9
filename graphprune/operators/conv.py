"""Convolution of any rank."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.operators.base import stored
from graphprune.operators.registry import register
from graphprune.operators.spectral import convolution_norm
from graphprune.operators.window import window_attributes

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@register
@dataclass(frozen=True, eq=False)
class Conv:
    """Cross-correlation as ONNX defines it; explicit pads, ``(channels, *spatial)`` samples.

    Attributes
    ----------
    weight
        ``(out channels, in channels / group, *kernel)``, float64.
    bias
        (out channels,), float64.
    in_shape
        Sample shape of the input.
    pads
        begin of every spatial axis, then end of every spatial axis.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    in_shape: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int

    @cached_property
    def _spatial(self) -> tuple[tuple[int, int], ...]:
        """(output length, input cells left over at the end) per spatial axis."""
        rank = len(self.strides)
        sizes = []
        for i in range(rank):
            span = self.dilations[i] * (self.weight.shape[2 + i] - 1) + 1
            room = self.in_shape[1 + i] + self.pads[i] + self.pads[rank + i] - span
            sizes.append((room // self.strides[i] + 1, room % self.strides[i]))
        return tuple(sizes)

    @property
    def rounding(self) -> int:
        kernel = prod(self.weight.shape[2:])
        into = self.weight.shape[1] * kernel
        back = self.weight.shape[0] // self.group * kernel
        return int(max(into, back)) + 1

    def with_weight(self, weight: NDArray[np.float64]) -> "Conv":
        return replace(self, weight=weight, bias=np.zeros_like(self.bias))

    def spectral_norm(self, deadline: float) -> float:
        kernels = self.weight.reshape(self.group, -1, *self.weight.shape[1:])
        sides = [-(-n // step) for n, step in zip(self.in_shape[1:], self.dilations, strict=True)]
        return convolution_norm(kernels, sides, deadline)

    @property
    def multiply_adds(self) -> int:
        return self.weight.size * prod(length for length, _ in self._spatial)

    @property
    def parameters(self) -> int:
        return stored(self.weight, self.bias)

    def forward(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        weight, bias = b.constant(self.weight, "weight"), b.constant(self.bias, "bias")
        return b.op("Conv", [inputs[0], weight, bias], window_attributes(self))

    def linear(self, b: GraphBuilder, *inputs: ir.Value) -> ir.Value:
        return b.op("Conv", [inputs[0], b.constant(self.weight, "weight")], window_attributes(self))

    def adjoint(self, b: GraphBuilder, rows: ir.Value) -> tuple[ir.Value, ...]:
        # output_padding restores the input cells that the stride left unread.
        left_over = [rest for _, rest in self._spatial]
        attributes = window_attributes(self) | {"output_padding": left_over}
        return (b.op("ConvTranspose", [rows, b.constant(self.weight, "weight")], attributes),)

    def absolute(self) -> "Conv":
        return replace(self, weight=np.abs(self.weight), bias=np.abs(self.bias))

    def output_shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        return (self.weight.shape[0], *(length for length, _ in self._spatial))

    def reads(self, used: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], ...]:
        # Coarse: a channel is read where any used channel of its group has weight on it.
        channels = np.any(used.reshape(self.weight.shape[0], -1), axis=1)[:, None]
        weighty = np.abs(self.weight).reshape(*self.weight.shape[:2], -1).max(axis=2) > 0
        groups = (weighty & channels).reshape(self.group, -1, self.weight.shape[1])
        cells = prod(self.in_shape[1:])
        return (np.repeat(groups.any(axis=1).reshape(-1), cells),)

    def matrices(self, *shapes: tuple[int, ...]) -> "tuple[csr_array[Any], ...]":
        from scipy.sparse import csr_array

        out, per_group = self.weight.shape[:2]
        channels, cells = self.in_shape[0], prod(self.in_shape[1:])
        read = self._cells_read()
        positions, taps = read.shape
        # (out, position, channel of the group, tap): the column each weight stands in.
        first = np.arange(out) // (out // self.group) * per_group
        channel = first[:, None, None, None] + np.arange(per_group)[None, None, :, None]
        columns = channel * cells + read[None, :, None, :]
        values = np.broadcast_to(self.weight.reshape(out, 1, per_group, taps), columns.shape)
        inside = np.broadcast_to(read[None, :, None, :] >= 0, columns.shape) & (values != 0)
        counts = inside.reshape(out * positions, -1).sum(axis=1)
        pointers = np.concatenate([[0], np.cumsum(counts)])
        shape = (out * positions, channels * cells)
        return (csr_array((values[inside], columns[inside], pointers), shape=shape),)

    def _cells_read(self) -> NDArray[np.int64]:
        """(output positions, kernel taps): the input cell under each tap, -1 in the padding."""
        rank = len(self.strides)
        read: NDArray[np.int64] = np.zeros((1, 1), np.int64)
        for i in range(rank):
            length, side, kernel = (
                self._spatial[i][0],
                self.in_shape[1 + i],
                self.weight.shape[2 + i],
            )
            at = np.arange(length)[:, None] * self.strides[i] - self.pads[i]
            at = at + np.arange(kernel)[None] * self.dilations[i]
            outside = (at < 0) | (at >= side)
            both = read[:, None, :, None] * side + at[None, :, None, :]
            bad = (read < 0)[:, None, :, None] | outside[None, :, None, :]
            read = np.where(bad, -1, both).reshape(len(read) * length, -1)
        return read
