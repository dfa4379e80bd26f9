"""Backward linear relaxation: a lower bound of rows . z over a box, as one graph.

Going down, rows A at an activation's output are replaced by rows at its input with the lower
line where A >= 0 and the upper line where A < 0 (Fast-Lin, Weng et al. 2018; CROWN, Zhang et al.
2018; the Wong-Kolter dual network is the same recursion):

    A . h >= (A+ ls + A- us) . z + A+ . lo + A- . uo,        then z = W h' + c.

Rounding: with rows L at a pre-activation z taken as they are, the computed rows below it differ
from L W by at most gamma |L| |W|, so the bound moves by at most gamma |L| . m where
m = |W| max|h'| + |c| is the magnitude of the segment, one number per neuron and the same for
all rows. Dot products with offsets and with the box add gamma times their absolute terms.
"""

import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import LOGITS, Network, Segment, affine, data_inputs, sample_shape, size
from graphprune.transforms.forward import Values
from graphprune.transforms.gradient import accumulate
from graphprune.transforms.rounding import TINY, gamma

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


def relaxation(network: Network, target: int) -> ir.Model:
    """Graph for rows on the target of segment `target` (an index into ``network.segments``).

    Inputs: ``rows`` (B, R, n); for every activation i below, ``lower_slope{i}``,
    ``lower_offset{i}``, ``upper_slope{i}``, ``upper_offset{i}`` (B, n_i); for every segment j
    passed, ``offset{j}`` (n_j, 1) and ``magnitude{j}`` (B, n_j); ``box_lower``, ``box_upper``
    (B, input size).
    Output: ``bound`` (B, R), a lower bound of rows . z over the box, rounding included; float32.
    """
    b = GraphBuilder("float32")
    segment = network.segments[target]
    rows = b.input("rows", ["B", "R", size(segment.target)])
    build = _Relaxation(b, network, rows)
    build.segment(target, rows)
    index = {a.outputs[0]: i for i, a in enumerate(network.activations)}
    for i in reversed(ancestors(network, target)):
        out = network.activations[i].outputs[0]
        build.activation(index[out])
    build.box()
    b.output(b.op("Sub", [build.total, build.error]), "bound")
    return b.build("relaxation")


class _Relaxation:
    """One walk down the segments, collecting constants and the rounding error."""

    def __init__(self, b: GraphBuilder, network: Network, rows: ir.Value) -> None:
        self.b = b
        self.network = network
        self.sums: Values = {}
        batch_and_rows = b.op("Slice", [b.op("Shape", [rows]), b.ints([0]), b.ints([2])])
        self.leading = b.op("Concat", [batch_and_rows, b.ints([-1])], {"axis": 0})
        self.total = self.error = b.op("Squeeze", [b.scalar(0.0)])
        # Every term of the total is added with at most this many further roundings.
        self.additions = 4 * (len(network.activations) + 2)

    def segment(self, index: int, rows: ir.Value) -> None:
        """Carry rows (B, R, n) at the target of a segment down to its sources."""
        b, segment = self.b, self.network.segments[index]
        width = size(segment.target)
        offset = b.input(f"offset{index}", [width, 1])
        magnitude = self._column(b.input(f"magnitude{index}", ["B", width]))
        self._add(b.op("MatMul", [rows, offset]))
        self._err(b.op("MatMul", [b.op("Abs", [rows]), magnitude]), segment.rounding + width)
        shape = b.ints([-1, *sample_shape(segment.target)])
        sums: Values = {segment.target: b.op("Reshape", [rows, shape])}
        self._walk(segment, sums)

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

    def activation(self, index: int) -> None:
        """Replace rows at the output of an activation by rows at its input."""
        b = self.b
        out = self.network.activations[index].outputs[0]
        width = size(out)
        rows = self._rows(self.sums.pop(out))
        ls, lo, us, uo = (b.input(f"{name}{index}", ["B", width]) for name in LINES)
        positive = b.op("Relu", [rows])
        negative = b.op("Sub", [rows, positive])
        low, high = self._column(lo), self._column(uo)
        self._add(b.op("MatMul", [positive, low]))
        self._add(b.op("MatMul", [negative, high]))
        error = b.op(
            "Sub",
            [
                b.op("MatMul", [positive, b.op("Abs", [low])]),
                b.op("MatMul", [negative, b.op("Abs", [high])]),
            ],
        )
        self._err(error, width)
        one = b.ints([1])
        below = b.op(
            "Add",
            [
                b.op("Mul", [positive, b.op("Unsqueeze", [ls, one])]),
                b.op("Mul", [negative, b.op("Unsqueeze", [us, one])]),
            ],
        )
        self.segment(index, below)

    def box(self) -> None:
        """Minimise what is left over the box."""
        b, source = self.b, self.network.input
        width = size(source)
        low, high = (b.input(name, ["B", width]) for name in ("box_lower", "box_upper"))
        if source not in self.sums:
            return
        rows = self._rows(self.sums.pop(source))
        positive = b.op("Relu", [rows])
        negative = b.op("Sub", [rows, positive])
        self._add(b.op("MatMul", [positive, self._column(low)]))
        self._add(b.op("MatMul", [negative, self._column(high)]))
        largest = b.op("Max", [b.op("Abs", [low]), b.op("Abs", [high])])
        self._err(b.op("MatMul", [b.op("Abs", [rows]), self._column(largest)]), width)

    def _rows(self, flat: ir.Value) -> ir.Value:
        """(B R, *sample) as (B, R, n)."""
        return self.b.op("Reshape", [flat, self.leading])

    def _column(self, vector: ir.Value) -> ir.Value:
        return self.b.op("Unsqueeze", [vector, self.b.ints([2])])

    def _add(self, term: ir.Value) -> None:
        squeezed = self.b.op("Squeeze", [term, self.b.ints([2])])
        self.total = self.b.op("Add", [self.total, squeezed])

    def _err(self, absolute: ir.Value, roundings: int) -> None:
        b = self.b
        squeezed = b.op("Squeeze", [absolute, b.ints([2])])
        factor = b.scalar(2.0 * gamma(roundings + self.additions))
        scaled = b.op("Add", [b.op("Mul", [squeezed, factor]), b.scalar(TINY)])
        self.error = b.op("Add", [self.error, scaled])
