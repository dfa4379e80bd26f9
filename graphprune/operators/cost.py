"""Estimates of what an operator costs in ONNX Runtime, by which fusion compares forms.

time = node + max(multiply-adds / rate, bytes of weights / bandwidth) + outputs / rate of writing

for one sample on one thread. The rates were measured with ONNX Runtime 1.31 on an AVX2 core
(`benchmarks/fusion.py` shows what the choices come to): a convolution runs twice as many
multiply-adds per nanosecond as a matrix-vector product, which waits for its weights.
"""

from dataclasses import dataclass
from math import prod

from graphprune.ir.network import AffineOperator, Network, Shape, affine, is_affine, sample_shape
from graphprune.operators.conv import Conv
from graphprune.operators.conv_transpose import ConvTranspose
from graphprune.operators.dense import Dense
from graphprune.operators.matmul import MatMul

NODE = 300.0  # ns
CONVOLUTION, PRODUCT, ELEMENTWISE = 30.0, 16.0, 8.0  # multiply-adds per ns
CACHED, MEMORY = 64.0, 18.0  # bytes per ns
CACHE = 16 << 20  # bytes


@dataclass(frozen=True, order=True)
class Cost:
    """Cost of one sample: estimated time, multiplications, numbers read (weights) and written."""

    nanoseconds: float
    multiply_adds: int
    numbers: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.nanoseconds + other.nanoseconds,
            self.multiply_adds + other.multiply_adds,
            self.numbers + other.numbers,
        )

    def no_worse(self, other: "Cost") -> bool:
        """Not slower, not more work, not more memory."""
        return (
            self.nanoseconds <= other.nanoseconds
            and self.multiply_adds <= other.multiply_adds
            and self.numbers <= other.numbers
        )


NOTHING = Cost(0.0, 0, 0)


def cost(op: AffineOperator, output: Shape) -> Cost:
    """Cost of an operator whose output has this sample shape."""
    return Cost(nanoseconds(op, output), op.multiply_adds, op.parameters + prod(output))


def matrix_cost(rows: int, columns: int, *, moves: int = 0) -> Cost:
    """Cost of a matrix that is not made yet, between `moves` reshapes."""
    weights = rows * columns
    waiting = 4.0 * weights / (CACHED if 4 * weights <= CACHE else MEMORY)
    time = NODE * (1 + moves) + max(weights / PRODUCT, waiting) + rows / ELEMENTWISE
    return Cost(time, weights, weights + 2 * rows)


def network_cost(network: Network) -> Cost:
    """Cost of all affine operators of a network."""
    parts = (cost(affine(n), sample_shape(n.outputs[0])) for n in network.nodes if is_affine(n))
    return sum(parts, NOTHING)


def nanoseconds(op: AffineOperator, output: Shape) -> float:
    """Estimated time of an operator whose output has this sample shape."""
    rate = ELEMENTWISE
    if isinstance(op, Conv | ConvTranspose):
        rate = CONVOLUTION
    elif isinstance(op, Dense | MatMul):
        rate = PRODUCT
    size = 4.0 * op.parameters
    waiting = size / (CACHED if size <= CACHE else MEMORY)
    return NODE + max(op.multiply_adds / rate, waiting) + prod(output) / ELEMENTWISE
