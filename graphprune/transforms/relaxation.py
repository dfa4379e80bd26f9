"""Backward linear relaxation: a lower bound of rows . z over a box or a ball, as one graph.

Going down, rows A at an activation's output are replaced by rows at its input with the lower
line where A >= 0 and the upper line where A < 0 (Fast-Lin, Weng et al. 2018; CROWN, Zhang et al.
2018; the Wong-Kolter dual network is the same recursion):

    A . h >= (A+ ls + A- us) . z + A+ . lo + A- . uo,        then z = W h' + c.

Rounding: with rows L at a pre-activation z taken as they are, the computed rows below it differ
from L W by at most gamma |L| |W|, so the bound moves by at most gamma |L| . m where
m = |W| max|h'| + |c| is the magnitude of the segment, one number per neuron and the same for
all rows. Dot products with offsets and with the box add gamma times their absolute terms.

Underflow (:mod:`graphprune.transforms.underflow`): errors that a row multiplies are made part of
what its absolute values are multiplied with (`FLOOR`; the magnitudes that are fed must include
the forward slack over twice `GAMMA`); all others are one number per box, left to subtract.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import (
    LOGITS,
    Network,
    Segment,
    affine,
    data_inputs,
    is_paired,
    operator,
    sample_shape,
    size,
)
from graphprune.region import LINF, Norm
from graphprune.transforms.forward import Values
from graphprune.transforms.gradient import accumulate
from graphprune.transforms.minimum import (
    ROUNDINGS,
    Rows,
    Sides,
    WrittenMinimum,
    dot,
    over_ball,
    over_box,
)
from graphprune.transforms.rounding import FLOOR, gamma

LINES = ("lower_slope", "lower_offset", "upper_slope", "upper_offset")


def ancestors(network: Network, target: int) -> tuple[int, ...]:
    """Indices of the activations that segment `target` depends on, directly or not."""

    def find() -> tuple[int, ...]:
        import networkx as nx

        names = [str(a.outputs[0].name) for a in network.activations]
        top = [*names, LOGITS][target]
        below = nx.ancestors(network.segment_graph, top)
        return tuple(i for i, name in enumerate(names) if name in below)

    return network.cached(("ancestors", target), find)


def relaxation(network: Network, target: int, norm: Norm = LINF) -> ir.Model:
    """Graph for rows on the target of segment `target` (an index into ``network.segments``).

    Inputs: ``rows`` (B, R, n); for every activation i below, ``lower_slope{i}``,
    ``lower_offset{i}``, ``upper_slope{i}``, ``upper_offset{i}`` (B, n_i); for every segment j
    passed, ``offset{j}`` (n_j, 1) and ``magnitude{j}`` (B, n_j); ``box_lower``, ``box_upper``
    (B, input size); unless the balls of `norm` are boxes, ``center`` (B, input size) and
    ``radius`` (B,) of the ball.
    Output: ``bound`` (B, R), float32, a lower bound of rows . z over box and ball, rounding
    included except for what underflow moves it by whatever the rows.
    """
    b = GraphBuilder("float32")
    walk = BackwardPass(b, network, target)
    for i in reversed(ancestors(network, target)):
        rows = walk.rows_at(i)
        ls, lo, us, uo = walk.lines(i)
        walk.activation(
            i, [walk.part(i, rows.positive, ls, lo), walk.part(i, rows.negative, us, uo)]
        )
    b.output(walk.bound(walk.minimum(norm)), "bound")
    return b.build("relaxation")


@dataclass(frozen=True)
class Part:
    """Rows (B, R, n) at an activation's output, none negative or none positive, and their line.

    Attributes
    ----------
    slope, offset
        (B, 1, n).
    terms
        (B, 1, n), what the rounding of the line is in proportion to.
    """

    rows: ir.Value
    slope: ir.Value
    offset: ir.Value
    terms: ir.Value


def better(b: GraphBuilder, new: ir.Value, old: ir.Value) -> ir.Value:
    """The larger bound; a new one that is not-a-number or infinite (an overflow) is left out."""
    finite = b.op("Less", [new, b.scalar(float(np.finfo(np.float32).max))])
    return b.op("Where", [b.op("And", [b.op("Greater", [new, old]), finite]), new, old])


class BackwardPass:
    """One walk down the segments from `target`, collecting constants and the rounding error."""

    def __init__(self, b: GraphBuilder, network: Network, target: int) -> None:
        self.b = b
        self.network = network
        self.sums: Values = {}
        self._inputs: dict[str, ir.Value] = {}
        rows = b.input("rows", ["B", "R", size(network.segments[target].target)])
        self._batch_and_rows = b.op("Slice", [b.op("Shape", [rows]), b.ints([0]), b.ints([2])])
        self._leading = b.op("Concat", [self._batch_and_rows, b.ints([-1])], {"axis": 0})
        self._total = self._error = b.op("Squeeze", [b.scalar(0.0)])
        # Every term of the total is added with at most this many further roundings.
        self._additions = 8 * (len(network.activations) + 2)
        self._segment(target, rows)

    def input(self, name: str, width: int) -> ir.Value:
        """The input `name` (B, width), as rows (B, 1, width)."""
        if name not in self._inputs:
            fed = self.b.input(name, ["B", width])
            self._inputs[name] = self.b.op("Unsqueeze", [fed, self.b.ints([1])])
        return self._inputs[name]

    def rows(self, flat: ir.Value) -> ir.Value:
        """(B R, *sample) as (B, R, n)."""
        return self.b.op("Reshape", [flat, self._leading])

    def flat(self, rows: ir.Value, sample: Sequence[int]) -> ir.Value:
        """(B, R, n) as (B R, *sample)."""
        return self.b.op("Reshape", [rows, self.b.ints([-1, *sample])])

    def rows_at(self, index: int) -> Rows:
        """The rows collected at the output of an activation; those of a pair are their mean."""
        return Rows.of(self.b, self.even(index, self.rows(self.sums[self._output(index)])))

    def even(self, index: int, rows: ir.Value) -> ir.Value:
        """Rows (B, R, n) whose pairs have their mean."""
        node, b = self.network.activations[index], self.b
        if not is_paired(operator(node)):
            return rows
        count = size(node.outputs[0]) // 2
        shape = b.op("Concat", [self._batch_and_rows, b.ints([2, count])], {"axis": 0})
        pairs = b.op("Reshape", [rows, shape])
        mean = b.op("ReduceMean", [pairs], {"axes": [2], "keepdims": 1})
        return b.op("Reshape", [b.op("Expand", [mean, shape]), self._leading])

    def part(
        self, index: int, rows: ir.Value, slope: ir.Value, offset: ir.Value, *, mixed: bool = False
    ) -> Part:
        """Rows of one sign and their line; a `mixed` one is off in proportion to its slope too."""
        b = self.b
        magnitude = self.input(f"magnitude{index}", size(self._output(index)))
        share: ir.Value = b.scalar(FLOOR)
        if mixed:
            share = b.op("Add", [b.op("Abs", [slope]), share])
        terms = b.op("Add", [b.op("Mul", [magnitude, share]), b.op("Abs", [offset])])
        return Part(rows, slope, offset, b.op("Add", [terms, b.scalar(FLOOR)]))

    def lines(self, index: int, names: Sequence[str] = LINES) -> list[ir.Value]:
        """The lines of an activation that are fed under these names."""
        return [self.input(f"{name}{index}", size(self._output(index))) for name in names]

    def activation(self, index: int, parts: Sequence[Part]) -> None:
        """Replace rows at the output of an activation, the sum of `parts`, by rows at its input."""
        b, width = self.b, size(self._output(index))
        del self.sums[self._output(index)]
        below = []
        for part in parts:
            self._add(dot(b, part.rows, part.offset))
            self._err(b.op("Abs", [dot(b, part.rows, part.terms)]), width)
            below.append(b.op("Mul", [part.rows, part.slope]))
        self._segment(index, b.op("Sum", below))

    def minimum(self, norm: Norm) -> list[WrittenMinimum]:
        """Minima of the rows on the input: over the box, and over a ball that is no box."""
        b, source = self.b, self.network.input
        width = size(source)
        if source not in self.sums:
            return []
        low, high = (self.input(name, width) for name in ("box_lower", "box_upper"))
        rows = Rows.of(b, self.rows(self.sums.pop(source)))
        found = [over_box(b, rows, Sides(low, high))]
        if not norm.separable:
            radius = b.op("Unsqueeze", [b.input("radius", ["B"]), b.ints([1, 2])])
            center = self.input("center", width)
            found.append(over_ball(b, rows, Sides(low, high), center, radius, norm))
        return found

    def bound(self, minima: Sequence[WrittenMinimum]) -> ir.Value:
        """The bound (B, R): the best of these minima with all constants and errors."""
        b = self.b
        total, error = self._total, self._error
        best: ir.Value | None = None
        for minimum in minima:
            self._total, self._error = total, error
            self._add(minimum.value)
            self._err(minimum.size, size(self.network.input) + ROUNDINGS)
            bound = b.op("Sub", [self._total, self._error])
            best = bound if best is None else better(b, bound, best)
        if best is None:  # nothing depends on the input
            best = b.op("Sub", [self._total, self._error])
        return best

    def _output(self, index: int) -> ir.Value:
        return self.network.activations[index].outputs[0]

    def _segment(self, index: int, rows: ir.Value) -> None:
        """Carry rows (B, R, n) at the target of a segment down to its sources."""
        b, segment = self.b, self.network.segments[index]
        width = size(segment.target)
        offset = b.input(f"offset{index}", [width, 1])
        magnitude = self.input(f"magnitude{index}", width)
        self._add(b.op("Squeeze", [b.op("MatMul", [rows, offset]), b.ints([2])]))
        self._err(dot(b, b.op("Abs", [rows]), magnitude), segment.rounding + width)
        self._walk(segment, {segment.target: self.flat(rows, sample_shape(segment.target))})

    def _walk(self, segment: Segment, sums: Values) -> None:
        for node in reversed(segment.nodes):
            if node.outputs[0] not in sums:
                continue
            collected = sums.pop(node.outputs[0])
            parts = affine(node).adjoint(self.b, collected)
            for value, part in zip(data_inputs(node), parts, strict=True):
                accumulate(self.b, sums, value, part)
        for source, part in sums.items():
            accumulate(self.b, self.sums, source, part)

    def _add(self, term: ir.Value) -> None:
        self._total = self.b.op("Add", [self._total, term])

    def _err(self, absolute: ir.Value, roundings: int) -> None:
        b = self.b
        factor = b.scalar(2.0 * gamma(roundings + self._additions))
        self._error = b.op("Add", [self._error, b.op("Mul", [absolute, factor])])
