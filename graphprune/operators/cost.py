"""What an operator costs in ONNX Runtime, estimated: what fusion compares forms by.

time = node + max(multiply-adds / rate, bytes of weights / bandwidth) + outputs / rate of writing

for one sample on one thread. The rates were measured with ONNX Runtime 1.31 on an AVX2 core
(`benchmarks/fusion.py` shows what the choices come to): a convolution runs twice as many
multiply-adds per nanosecond as a matrix-vector product, which waits for its weights.
"""

from math import prod

from graphprune.ir.network import AffineOperator, Shape
from graphprune.operators.conv import Conv
from graphprune.operators.conv_transpose import ConvTranspose
from graphprune.operators.dense import Dense
from graphprune.operators.matmul import MatMul

NODE = 300.0  # ns
CONVOLUTION, PRODUCT, ELEMENTWISE = 30.0, 16.0, 8.0  # multiply-adds per ns
CACHED, MEMORY = 64.0, 18.0  # bytes per ns
CACHE = 16 << 20  # bytes


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
