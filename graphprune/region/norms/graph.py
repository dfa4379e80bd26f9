"""Operators that the norms' closed forms write into an ONNX graph, and the parts they share.

Values are rows (N, n); every function adds its operators (of opset 18 or later).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx_ir as ir

# Beyond any step that is of use; stands for caps and multipliers without end.
HUGE = 1e30
# Divisors are at least this.
TINY = 1e-37


class Graph(Protocol):
    """A graph being written, as :class:`graphprune.ir.builder.GraphBuilder` does it."""

    def op(
        self,
        op_type: str,
        inputs: "Sequence[ir.Value | None]",
        attributes: Mapping[str, int | float | str | Sequence[int] | Sequence[float]] | None = None,
    ) -> "ir.Value": ...

    def scalar(self, number: float) -> "ir.Value": ...

    def ints(self, numbers: Sequence[int]) -> "ir.Value": ...

    def constant(self, array: NDArray[np.generic]) -> "ir.Value": ...

    def top(self, values: "ir.Value", count: int) -> "tuple[ir.Value, ir.Value]": ...


def largest(b: Graph, values: "ir.Value") -> "ir.Value":
    """The largest value of each row (N, 1)."""
    return b.op("ReduceMax", [values, b.ints([1])], {"keepdims": 1})


def total(b: Graph, values: "ir.Value") -> "ir.Value":
    """The sum of each row (N, 1)."""
    return b.op("ReduceSum", [values, b.ints([1])], {"keepdims": 1})


def unit(b: Graph, norm_of_steps: "ir.Value", steps: "ir.Value") -> "ir.Value":
    """Steps divided by their lengths."""
    return b.op("Div", [steps, b.op("Max", [norm_of_steps, b.scalar(TINY)])])


def uniform_moves(
    b: Graph,
    constants: "ir.Value",
    slopes: "ir.Value",
    caps: "ir.Value",
    speeds: "ir.Value | None",
    newton: int,
) -> "ir.Value":
    """Moves min(t speed, caps) with the least t that reaches the half-space.

    Newton's steps on t from 0 never pass the root; too few of them leave a step that is too short.

    Parameters
    ----------
    speeds
        (N, n), or None where every element moves at speed one.
    newton
        Number of steps.
    """
    zero = b.scalar(0.0)
    gains = slopes if speeds is None else b.op("Mul", [slopes, speeds])
    ends = b.op("Mul", [slopes, caps])
    # From t = 0 every element that can move is free.
    free = b.op("Greater", [caps, zero])
    t: ir.Value | None = None
    for _ in range(newton):
        gain = total(b, b.op("Where", [free, gains, zero]))
        rest = b.op("Sub", [constants, total(b, b.op("Where", [free, zero, ends]))])
        ratio = b.op("Div", [rest, b.op("Max", [gain, b.scalar(TINY)])])
        t = b.op("Min", [b.op("Max", [ratio, t or zero]), b.scalar(HUGE)])
        moves = t if speeds is None else b.op("Mul", [t, speeds])
        free = b.op("Less", [moves, caps])
    return b.op("Min", [moves, caps])
