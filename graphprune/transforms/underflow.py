"""The part of a float32 run's error that does not scale with what is computed.

With the operations of :mod:`graphprune.transforms.rounding` and s = `SMALLEST`, a computed
y = W x + b of n products (and n sums) per element, from an x that is off by at most D beside its
relative error, is off, beside its own relative error, by at most

    |W| (D + s) + n s (|x| + D + 4),

elementwise: every x_j may be flushed before its product, every weight may be off by s (rounded to
a multiple of 2^-149, or flushed), and products, partial sums and the bias are off by s each. Let N
bound |x|, then |W| N + |b| bounds |y|: both recursions run over the nodes of a segment, in
float64. Sources are taken to be at most 1, off by 2 s (the centre and the radius of an interval);
when they are at most h >= 1, everything is at most h times as large, since h only multiplies N:
the *forward* slack. A bound on z = W h + c thus moves by forward * max(1, sup |h|).

Going down, rows L at the target are taken as they are. With V the weights as the device reads
them, z differs from V h + c by no more than the forward slack (and the relative error). Rows below
L V that are off by E before an operator are off by |W|' (E + s) + n s (E + 4) behind it (no row
multiplies s here, as V is exact): the *adjoint* slack of a source; it moves a bound by
adjoint . |h|, whatever the rows.

Factors 1 + d on these terms, and the second order, are covered by a factor of 4 at the end.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import Network, Segment, affine, data_inputs, sample_shape
from graphprune.transforms.forward import Values
from graphprune.transforms.gradient import accumulate
from graphprune.transforms.rounding import SMALLEST

# Operations beside products that one element goes through, at most.
MORE = 4.0


@dataclass(frozen=True, eq=False)
class Slack:
    """The slack of a segment: `forward` (target size,), `adjoint` (source size,) per source."""

    forward: NDArray[np.float64]
    adjoint: tuple[NDArray[np.float64], ...]


def slack(network: Network, index: int) -> Slack:
    """The slacks of segment `index`, made once per network."""
    return network.cached(("underflow", index), lambda: _slack(network.segments[index]))


def _slack(segment: Segment) -> Slack:
    from graphprune.functions.evaluator import Evaluator

    feeds = {f"source{i}": np.ones((1, *sample_shape(s))) for i, s in enumerate(segment.sources)}
    feeds["target"] = np.ones((1, *sample_shape(segment.target)))
    evaluator = Evaluator(ir.to_proto(_underflow(segment)))
    forward, *adjoint = (np.asarray(found).reshape(-1) for found in evaluator.run(feeds))
    return Slack(forward, tuple(adjoint))


def _underflow(segment: Segment) -> ir.Model:
    """Graph of the slacks of one segment, in float64.

    Inputs ``source{i}`` (1, *source sample) and ``target`` (1, *target sample), all ones. Outputs
    ``forward`` (1, *target sample) and for every source ``adjoint{i}`` (1, *source sample).
    """
    b = GraphBuilder("float64")
    small, factor = b.scalar(SMALLEST), b.scalar(4.0)
    largest: Values = {}
    error: Values = {}
    for i, source in enumerate(segment.sources):
        one = b.input(f"source{i}", [1, *sample_shape(source)])
        largest[source] = one
        error[source] = b.op("Mul", [one, b.scalar(2.0 * SMALLEST)])
    top = b.input("target", [1, *sample_shape(segment.target)])
    zero = b.scalar(0.0)
    for node in segment.nodes:
        op, out, inputs = affine(node), node.outputs[0], data_inputs(node)
        absolute = op.absolute()
        size = absolute.forward(b, *(largest[v] for v in inputs))
        # At least 1 where it is not 0, so that no product with further weights becomes 0.
        largest[out] = b.op("Max", [size, b.op("Sign", [size])])
        flushed = [b.op("Add", [error[v], small]) for v in inputs]
        products = b.scalar((op.rounding + 1) * SMALLEST)
        sizes = [_largest(b, b.op("Add", [largest[v], error[v]])) for v in inputs]
        fresh = b.op("Mul", [b.op("Sum", [*sizes, b.scalar(MORE)]), products])
        error[out] = b.op("Add", [absolute.linear(b, *flushed), fresh])
    # All products of an element that is constantly 0 are exact.
    constant = b.op("Equal", [largest[segment.target], b.scalar(0.0)])
    moved = b.op("Mul", [error[segment.target], factor])
    b.output(b.op("Where", [constant, b.scalar(0.0), moved]), "forward")
    rows: Values = {segment.target: b.op("Mul", [top, zero])}
    for node in reversed(segment.nodes):
        if node.outputs[0] not in rows:
            continue
        op, collected = affine(node), rows.pop(node.outputs[0])
        products = b.scalar((op.rounding + 1) * SMALLEST)
        size = b.op("Add", [_largest(b, collected), b.scalar(MORE)])
        fresh = b.op("Mul", [size, products])
        flushed = [b.op("Add", [collected, small])]
        parts = op.absolute().adjoint(b, *flushed)
        for value, part in zip(data_inputs(node), parts, strict=True):
            accumulate(b, rows, value, b.op("Add", [part, fresh]))
    for i, source in enumerate(segment.sources):
        b.output(b.op("Mul", [rows[source], factor]), f"adjoint{i}")
    return b.build("underflow")


def _largest(b: GraphBuilder, value: ir.Value) -> ir.Value:
    """The largest element, as a scalar."""
    return b.op("ReduceMax", [value], {"keepdims": 0})
