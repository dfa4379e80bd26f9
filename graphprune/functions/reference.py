"""Operators that ``onnx.reference`` lacks or gets wrong, for every float64 run."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from graphprune.functions import erf, gelu, hard_swish, softplus
from graphprune.operators.window import same_pads

C = TypeVar("C", bound=type[OpRun])


def _of_operator(op_type: str) -> Callable[[C], C]:
    """Name a class as ``onnx.reference`` looks it up: after its operator."""

    def name(cls: C) -> C:
        cls.__name__ = op_type
        return cls

    return name


@_of_operator("Conv")
class ReferenceConv(OpRun):
    """ONNX's own spends three times as long on indices."""

    op_domain = ""

    def _run(
        self,
        x: NDArray[Any],
        weight: NDArray[Any],
        bias: NDArray[Any] | None = None,
        *,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        **_: object,
    ) -> tuple[NDArray[Any]]:
        axes, group, kernel = range(x.ndim - 2), group or 1, weight.shape[2:]
        steps, apart = strides or [1 for _ in axes], dilations or [1 for _ in axes]
        spans = [apart[i] * (kernel[i] - 1) + 1 for i in axes]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            pads = same_pads(auto_pad, x.shape[2:], kernel, steps, apart)
        elif auto_pad == "VALID" or pads is None:
            pads = [0 for _ in (*axes, *axes)]
        sides = [(pads[i], pads[len(axes) + i]) for i in axes]
        padded = _padded(x, sides)
        out = [(padded.shape[2 + i] - spans[i]) // steps[i] + 1 for i in axes]
        # (sample, channel, *cell of the kernel, *place of the output), not copied yet.
        first, cell = padded.strides[:2], padded.strides[2:]
        strided = [apart[i] * cell[i] for i in axes] + [steps[i] * cell[i] for i in axes]
        windows = np.lib.stride_tricks.as_strided(
            padded, (*x.shape[:2], *kernel, *out), (*first, *strided), writeable=False
        )
        columns = windows.reshape(len(x), group, -1, prod(out))
        product = weight.reshape(group, len(weight) // group, -1) @ columns
        return (_with_bias(product.reshape(len(x), len(weight), *out), bias),)


def _padded(x: NDArray[Any], sides: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Values with zeros around; `numpy.pad` takes longer for its arguments than for the zeros."""
    if not any(map(any, sides)):
        return x
    shape = [n + a + b for n, (a, b) in zip(x.shape[2:], sides, strict=True)]
    padded = np.zeros((*x.shape[:2], *shape), x.dtype)
    places = zip(x.shape[2:], sides, strict=True)
    within: tuple[Any, ...] = tuple(slice(a, a + n) for n, (a, _) in places)
    padded[(..., *within)] = x
    return padded


def _with_bias(y: NDArray[Any], bias: NDArray[Any] | None) -> NDArray[Any]:
    """Values (N, channels, *place) and a bias of every channel."""
    return y if bias is None else y + bias.reshape(-1, *(1 for _ in y.shape[2:]))


@_of_operator("ConvTranspose")
class ReferenceConvTranspose(OpRun):
    """ONNX's own is wrong for groups; here every kernel cell scatters the whole input."""

    op_domain = ""

    def _run(
        self,
        x: NDArray[Any],
        weight: NDArray[Any],
        bias: NDArray[Any] | None = None,
        *,
        dilations: Sequence[int],
        group: int,
        output_padding: Sequence[int],
        pads: Sequence[int],
        strides: Sequence[int],
        **_: object,
    ) -> tuple[NDArray[Any]]:
        rank = x.ndim - 2
        kernel, sides = weight.shape[2:], x.shape[2:]
        grouped = x.reshape(len(x), group, -1, *sides)
        per_group = weight.reshape(group, -1, *weight.shape[1:])
        full = [
            strides[i] * (sides[i] - 1) + dilations[i] * (kernel[i] - 1) + 1 + output_padding[i]
            for i in range(rank)
        ]
        out = np.zeros((len(x), group, weight.shape[1], *full), dtype=x.dtype)
        for cell in np.ndindex(*kernel):
            part = np.einsum("ngi...,gio->ngo...", grouped, per_group[(..., *cell)])
            starts = [dilations[i] * cell[i] for i in range(rank)]
            window: tuple[Any, ...] = tuple(
                slice(start, start + s * (n - 1) + 1, s)
                for start, s, n in zip(starts, strides, sides, strict=True)
            )
            out[(..., *window)] += part
        crop: tuple[Any, ...] = tuple(slice(pads[i], full[i] - pads[rank + i]) for i in range(rank))
        return (_with_bias(out.reshape(len(x), -1, *full)[(..., *crop)], bias),)


@_of_operator("Softplus")
class ReferenceSoftplus(OpRun):
    """Without the overflow of log(1 + exp(z))."""

    op_domain = ""

    def _run(self, z: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (softplus.Softplus().value(np.asarray(z)),)


@_of_operator("Gelu")
class ReferenceGelu(OpRun):
    """Exact or by tanh; ONNX defines it as a function of other operators only."""

    op_domain = ""

    def _run(self, z: NDArray[Any], *, approximate: str = "none") -> tuple[NDArray[Any]]:
        kind = gelu.GeluTanh() if approximate == "tanh" else gelu.Gelu()
        return (kind.value(np.asarray(z)),)


@_of_operator("Erf")
class ReferenceErf(OpRun):
    """In float64, and not number by number."""

    op_domain = ""

    def _run(self, z: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (erf.Erf().value(np.asarray(z)),)


@_of_operator("HardSwish")
class ReferenceHardSwish(OpRun):
    """With 1/6 in float64."""

    op_domain = ""

    def _run(self, z: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (hard_swish.HardSwish().value(np.asarray(z)),)


NEW_OPS = [
    ReferenceConv,
    ReferenceConvTranspose,
    ReferenceErf,
    ReferenceGelu,
    ReferenceHardSwish,
    ReferenceSoftplus,
]
