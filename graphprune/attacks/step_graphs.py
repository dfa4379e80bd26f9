"""Whole steps of an attack as graphs: state in, state out, the gradient by our own adjoint.

The loop itself is an ONNX `Loop`, so that its state never leaves the device between steps. Steps
from the anchor are flat rows (N, n); ``start``, ``lower`` and ``upper`` (1, n) are the anchor and
the smallest and largest steps that stay in the domain; ``rows`` (N, classes) are the margins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import BATCH, Network, size
from graphprune.region import Norm
from graphprune.region.norms.graph import HUGE
from graphprune.transforms.forward import emit
from graphprune.transforms.gradient import emit_gradient

# A descent that is not yet adversarial goes beyond the point its step leads to, by this factor.
OVERSHOOT = 1.03
# Scales at which the ray through an end is searched: an adversarial one may have crossed the
# boundary long before; the others converge to it and need not cross it.
SHORTER = np.array([0.6, 0.8, 0.9, 0.94, 0.96, 0.975, 0.985, 0.995])
LONGER = np.array([1.0, 1.03, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0])
# The length where nothing adversarial is known.
FAR = HUGE
# Elements that the steps between two looks at the clock move, at most, which takes about a second;
# multiply-adds that take as long as one.
ELEMENTS, WORK = 1 << 23, 256


def row_cost(network: Network) -> int:
    """A step of one row in elements moved, or in multiply-adds that take as long."""
    values = network.neurons + network.auxiliary_neurons  # those of attention are many
    return max(size(network.input), values, network.multiply_adds // WORK, 1)


def at_once(steps: int, rows: int, network: Network) -> int:
    """The number of steps of so many rows between two looks at the clock, at most `steps`."""
    return max(1, min(steps, ELEMENTS // (max(rows, 1) * row_cost(network))))


def rows_at_once(network: Network) -> int:
    """Rows that one step may have, so that it takes no more than about a second."""
    return max(1, ELEMENTS // row_cost(network))


@dataclass(eq=False)
class _Stage:
    """The inputs every graph has, and what the network says of steps."""

    b: GraphBuilder
    network: Network

    def __post_init__(self) -> None:
        b, network = self.b, self.network
        b.require(18)  # reductions with their axes as inputs
        self.size = int(np.prod(network.input_shape))
        self.start, self.lower, self.upper = (
            b.input(name, [1, self.size]) for name in ("start", "lower", "upper")
        )
        self.rows = b.input("rows", [BATCH, network.classes])
        self.others = b.op("Equal", [self.rows, b.scalar(0.0)])

    def steps(self, name: str) -> ir.Value:
        return self.b.input(name, [BATCH, self.size])

    def clip(self, b: GraphBuilder, steps: ir.Value) -> ir.Value:
        return b.op("Min", [b.op("Max", [steps, self.lower]), self.upper])

    def points(self, b: GraphBuilder, steps: ir.Value) -> ir.Value:
        flat = b.op("Add", [self.start, steps])
        return b.op("Reshape", [flat, b.ints([-1, *self.network.input_shape])])

    def slopes(self, b: GraphBuilder, steps: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Margins (N, 1) and their gradients (N, n)."""
        values = {self.network.input: self.points(b, steps)}
        emit(b, self.network.nodes, values)
        gradient = emit_gradient(b, self.network, values, self.rows)
        flat = b.op("Reshape", [gradient, b.ints([-1, self.size])])
        return self.margins(b, values[self.network.output]), flat

    def margins(self, b: GraphBuilder, logits: ir.Value) -> ir.Value:
        """<rows, logits>, with no word from classes that it is not about: they may be infinite."""
        terms = b.op("Where", [self.others, b.scalar(0.0), b.op("Mul", [self.rows, logits])])
        return b.op("ReduceSum", [terms, b.ints([-1])], {"keepdims": 1})


def descent(network: Network, norm: Norm) -> ir.Model:
    """Graph of `trips` steps of minimum-norm descent, for every row by itself.

    Each step linearises the margin, takes the shortest step from the anchor into the half-space
    where it is <= 0 (the box of the domain included) and goes most of the way there; the shortest
    step that the network calls adversarial on the way is kept.
    Inputs, besides those of the module: ``trips``; ``paces`` (trips,), each step's share of the
    way to its projection; state ``step``, ``best`` (N, n), ``length`` (N, 1) of `best`. Outputs:
    the state after the steps.
    """
    b = GraphBuilder("float32")
    stage = _Stage(b, network)
    trips, paces = b.input("trips", [], ir.DataType.INT64), b.input("paces", ["T"])
    state: tuple[tuple[ir.Value, list[int | str]], ...] = (
        (stage.steps("step"), [BATCH, stage.size]),
        (stage.steps("best"), [BATCH, stage.size]),
        (b.input("length", [BATCH, 1]), [BATCH, 1]),
    )

    def body(
        b: GraphBuilder, trip: ir.Value, state: Sequence[ir.Value]
    ) -> tuple[None, tuple[ir.Value, ...]]:
        step, best, length = state
        margins, slopes = stage.slopes(b, step)
        best, length = _keep(b, norm, margins, step, best, length)
        along = b.op("ReduceSum", [b.op("Mul", [slopes, step]), b.ints([1])], {"keepdims": 1})
        goal = norm.write_nearest(
            b, b.op("Sub", [margins, along]), slopes, stage.lower, stage.upper, stage.size
        )
        pace = b.op("Gather", [paces, trip])
        between = b.op("Add", [step, b.op("Mul", [pace, b.op("Sub", [goal, step])])])
        inside = b.op("LessOrEqual", [margins, b.scalar(0.0)])
        beyond = b.op("Where", [inside, b.scalar(1.0), b.scalar(OVERSHOOT)])
        return None, (stage.clip(b, b.op("Mul", [between, beyond])), best, length)

    for value, name in zip(b.loop(trips, state, body), ("step", "best", "length"), strict=True):
        b.output(value, name)
    return b.build("descent")


def _keep(
    b: GraphBuilder,
    norm: Norm,
    margins: ir.Value,
    step: ir.Value,
    best: ir.Value,
    length: ir.Value,
) -> tuple[ir.Value, ir.Value]:
    """`best` and `length` after a look at `step`."""
    size = norm.write_lengths(b, step)
    adversarial = b.op("LessOrEqual", [margins, b.scalar(0.0)])
    better = b.op("And", [adversarial, b.op("Less", [size, length])])
    return b.op("Where", [better, step, best]), b.op("Where", [better, size, length])


def rays(network: Network, norm: Norm) -> ir.Model:
    """Graph of a search along the rays through the ends of descents: their state to the shorter
    ``best`` and ``length``."""
    b = GraphBuilder("float32")
    stage = _Stage(b, network)
    step, best = stage.steps("step"), stage.steps("best")
    length = b.input("length", [BATCH, 1])
    known = b.op("Less", [length, b.scalar(FAR)])
    ends = b.op("Where", [known, best, step])
    count = len(SHORTER)
    shorter, longer = (b.constant(s.reshape(count, 1, 1)) for s in (SHORTER, LONGER))
    scales = b.op("Where", [known, shorter, longer])

    # Scale by scale over all rows: (S, N, n).
    steps = stage.clip(b, b.op("Mul", [scales, ends]))
    values = {network.input: stage.points(b, steps)}
    emit(b, network.nodes, values)
    logits = b.op("Reshape", [values[network.output], b.ints([count, -1, network.classes])])
    adversarial = b.op("LessOrEqual", [stage.margins(b, logits), b.scalar(0.0)])
    least = b.op("Where", [adversarial, scales, b.scalar(FAR)])
    least = b.op("ReduceMin", [least, b.ints([0])], {"keepdims": 0})
    shortest = stage.clip(b, b.op("Mul", [least, ends]))
    size = norm.write_lengths(b, shortest)
    met = b.op("Less", [least, b.scalar(FAR)])
    better = b.op("And", [met, b.op("Less", [size, length])])
    b.output(b.op("Where", [better, shortest, best]), "best")
    b.output(b.op("Where", [better, size, length]), "length")
    return b.build("rays")


def pgd(network: Network, norm: Norm) -> ir.Model:
    """Graph of `trips` steps of PGD (Madry et al. 2018) in a ball; ends when a row is adversarial.

    Inputs, besides those of the module: ``trips``, ``radius``, ``pace`` (length of a step), both
    of one element; state ``step`` (N, n). Output: the state after the steps.
    """
    b = GraphBuilder("float32")
    stage = _Stage(b, network)
    trips = b.input("trips", [], ir.DataType.INT64)
    radius, pace = b.input("radius", [1]), b.input("pace", [1])

    def body(
        b: GraphBuilder, trip: ir.Value, state: Sequence[ir.Value]
    ) -> tuple[ir.Value, tuple[ir.Value, ...]]:
        (step,) = state
        margins, slopes = stage.slopes(b, step)
        least = b.op("ReduceMin", [margins], {"keepdims": 0})
        going = b.op("Greater", [least, b.scalar(0.0)])
        direction = norm.write_steepest(b, slopes, stage.size)
        moved = b.op("Add", [step, b.op("Mul", [pace, direction])])
        after = stage.clip(b, norm.write_projection(b, moved, radius, stage.size))
        return going, (b.op("Where", [going, after, step]),)

    (step,) = b.loop(trips, [(stage.steps("step"), [BATCH, stage.size])], body)
    b.output(step, "step")
    return b.build("pgd")
