"""One step of alpha-CROWN as a graph: a bound, its gradient, and a step of projected Adam.

An activation offers two lines per side; a row takes their mixture, a number alpha of [0, 1] per
neuron. The bound of a row is a . x* + constant at the point x* that minimises it. Carrying x* up
through the lines the row used gives a value z* for every pre-activation, and the derivative of
the bound by the mixture of a neuron with coefficient a (at its output) is

    a ((slope1 - slope0) z* + (offset1 - offset0)):

the adjoint of the relaxation, evaluated forward. Every step's bound is sound by itself; the best
one is kept. Xu et al. 2021, "Fast and complete: enabling complete verification with rapid and
massively parallel incomplete verifiers" (alpha-CROWN); Kingma and Ba 2015 (Adam).

The graph's outputs are its next inputs, so a loop leaves everything on the device.
"""

from typing import NamedTuple

import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import Network, pre_activation, sample_shape, size
from graphprune.region import LINF, Norm
from graphprune.transforms.forward import Values, emit
from graphprune.transforms.minimum import Rows
from graphprune.transforms.relaxation import LINES, BackwardPass, ancestors, better


class AdamConstants(NamedTuple):
    """Constants of the ascent on mixtures: a named tuple, because compiled code reads it too.

    Attributes
    ----------
    rate
        Size of the first step: half of the range of a mixture.
    first, second
        Decay of the mean gradient and of its square: those of the paper.
    decay
        Every step's size is this share of the one before.
    """

    rate: float = 0.5
    first: float = 0.9
    second: float = 0.999
    decay: float = 0.98


ADAM = AdamConstants()
# The difference of a line's second choice and its first.
CHANGES = tuple(f"{name}_change" for name in LINES)
# Per neuron and row: the mixture, the means of its gradient and of the gradient's square.
STATE = ("alpha", "mean", "square")
# An output's name is that of the input it is next, and this.
NEXT = "_next"


def optimisation(network: Network, target: int, norm: Norm = LINF) -> ir.Model:
    """Graph of one step for rows on the target of segment `target`.

    Inputs: those of `relaxation`; for every activation i below, `CHANGES` like `LINES`, and
    `STATE` (B, R, n_i); ``best`` (B, R); ``step`` (1,), counted from 0.
    Outputs: ``best`` with this step's bound taken in, ``step`` and `STATE`, all called as the
    inputs and `NEXT`.
    """
    b = GraphBuilder("float32")
    walk = BackwardPass(b, network, target)
    below = ancestors(network, target)
    taken: dict[int, tuple[Rows, ir.Value]] = {}
    for i in reversed(below):
        width = size(network.activations[i].outputs[0])
        alpha = b.input(f"alpha{i}", ["B", "R", width])
        rows = walk.rows_at(i)
        taken[i] = rows, alpha
        ls, lo, us, uo = walk.lines(i)
        dls, dlo, dus, duo = walk.lines(i, CHANGES)
        mixed = [b.op("Mul", [part, alpha]) for part in (rows.positive, rows.negative)]
        walk.activation(i, [
            walk.part(i, rows.positive, ls, lo, mixed=True),
            walk.part(i, rows.negative, us, uo, mixed=True),
            walk.part(i, mixed[0], dls, dlo, mixed=True),
            walk.part(i, mixed[1], dus, duo, mixed=True),
        ])  # fmt: skip
    minima = walk.minimum(norm)
    b.output(better(b, walk.bound(minima), b.input("best", ["B", "R"])), f"best{NEXT}")
    adam = _Adam(b)
    values: Values = {network.input: walk.flat(minima[-1].point, network.input_shape)}
    for i in below:
        activation = network.activations[i]
        rows, alpha = taken[i]
        emit(b, network.segments[i].nodes, values)
        z = walk.rows(values[pre_activation(activation)])
        down = b.op("GreaterOrEqual", [rows.whole, b.scalar(0.0)])
        ls, lo, us, uo = walk.lines(i)
        dls, dlo, dus, duo = walk.lines(i, CHANGES)
        line = _at(b, b.op("Where", [down, ls, us]), z, b.op("Where", [down, lo, uo]))
        change = _at(b, b.op("Where", [down, dls, dus]), z, b.op("Where", [down, dlo, duo]))
        h = b.op("Add", [line, b.op("Mul", [alpha, change])])
        out = activation.outputs[0]
        values[out] = walk.flat(h, sample_shape(out))
        gradient = walk.even(i, b.op("Mul", [rows.whole, change]))
        adam.ascend(i, size(out), alpha, gradient)
    b.output(b.op("Add", [adam.step, b.scalar(1.0)]), f"step{NEXT}")
    return b.build("optimisation")


def _at(b: GraphBuilder, slope: ir.Value, z: ir.Value, offset: ir.Value) -> ir.Value:
    return b.op("Add", [b.op("Mul", [slope, z]), offset])


class _Adam:
    """The ascent; its factors are those of one step."""

    def __init__(self, b: GraphBuilder) -> None:
        self.b = b
        self.step = b.input("step", [1])
        one = b.scalar(1.0)
        after = b.op("Add", [self.step, one])
        decayed = b.op("Mul", [b.op("Pow", [b.scalar(ADAM.decay), self.step]), b.scalar(ADAM.rate)])
        first, second = (
            b.op("Sub", [one, b.op("Pow", [b.scalar(rate), after])])
            for rate in (ADAM.first, ADAM.second)
        )
        self._scale = b.op("Div", [decayed, first])
        self._correction = b.op("Div", [one, second])

    def ascend(self, index: int, width: int, alpha: ir.Value, gradient: ir.Value) -> None:
        """Output the next state of one activation."""
        b = self.b
        mean, square = (b.input(f"{name}{index}", ["B", "R", width]) for name in STATE[1:])
        mean = self._mean(mean, gradient, ADAM.first)
        square = self._mean(square, b.op("Mul", [gradient, gradient]), ADAM.second)
        root = b.op("Sqrt", [b.op("Mul", [square, self._correction])])
        move = b.op("Div", [mean, b.op("Add", [root, b.scalar(1e-12)])])
        moved = b.op("Add", [alpha, b.op("Mul", [move, self._scale])])
        alpha = b.op("Clip", [moved, b.scalar(0.0), b.scalar(1.0)])
        for name, value in zip(STATE, (alpha, mean, square), strict=True):
            b.output(value, f"{name}{index}{NEXT}")

    def _mean(self, old: ir.Value, new: ir.Value, rate: float) -> ir.Value:
        b = self.b
        kept = b.op("Mul", [old, b.scalar(rate)])
        return b.op("Add", [kept, b.op("Mul", [new, b.scalar(1.0 - rate)])])
