"""Parts of recurrent layers: their sequence, directions, weights and activations.

The layouts are ONNX's: weights (directions, gates * hidden, inputs), biases of inputs and of the
state one behind the other, activations listed direction by direction.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from graphprune.canonical.memory import STEPS
from graphprune.canonical.unrolled.base import StepWriter, all_attributes, constants, given, wanted

# Parameters that activations take, and their defaults; None: ONNX has none.
PARAMETERS: dict[str, tuple[float | None, ...]] = {
    "Relu": (), "Tanh": (), "Sigmoid": (), "Softsign": (), "Softplus": (),
    "LeakyRelu": (0.01,), "ThresholdedRelu": (1.0,), "Elu": (1.0,), "HardSigmoid": (0.2, 0.5),
    "Affine": (None, None), "ScaledTanh": (None, None),
}  # fmt: skip


@dataclass(frozen=True)
class GateActivation:
    """An activation of a recurrent layer, with its alpha and beta where it has them."""

    name: str
    parameters: tuple[float, ...]
    clip: float

    def __call__(self, writer: StepWriter, x: str) -> str:
        """Write it."""
        if self.clip:
            x = _clipped(writer, x, self.clip)
        if self.name == "Affine":
            return _affine(writer, x, *self.parameters)
        if self.name == "ScaledTanh":
            alpha, beta = self.parameters
            inner = writer.op("Mul", x, writer.number(beta, x))
            return writer.op("Mul", writer.op("Tanh", inner), writer.number(alpha, x))
        names = ("alpha", "beta")[: len(self.parameters)]
        attributes: dict[str, Any] = dict(zip(names, self.parameters, strict=True))
        return writer.op(self.name, x, **attributes)


def _affine(writer: StepWriter, x: str, alpha: float, beta: float) -> str:
    scaled = writer.op("Mul", x, writer.number(alpha, x))
    return writer.op("Add", scaled, writer.number(beta, x))


def _clipped(writer: StepWriter, x: str, limit: float) -> str:
    if writer.opset < 11:
        return writer.op("Clip", x, min=-limit, max=limit)
    return writer.op("Clip", x, writer.number(-limit, x), writer.number(limit, x))


@dataclass(frozen=True)
class Layer:
    """A recurrent layer of a known length.

    Attributes
    ----------
    node
        The operator.
    gates
        Rows of weights are these times `hidden`.
    hidden, steps
        Neurons of the state, and length of the sequence.
    first
        True where the batch is the first axis (``layout`` 1).
    directions
        ``forward``, ``reverse`` or both.
    activations
        Those of each direction.
    attributes
        All of the node.
    """

    node: onnx.NodeProto
    gates: int
    hidden: int
    steps: int
    first: bool
    directions: tuple[str, ...]
    activations: tuple[tuple[GateActivation, ...], ...]
    attributes: dict[str, Any]

    @classmethod
    def of(
        cls, node: onnx.NodeProto, writer: StepWriter, gates: int, usual: tuple[str, ...]
    ) -> "Layer | None":
        """The layer, or None where it cannot be written out.

        Parameters
        ----------
        usual
            The activations of a direction where none are named.
        """
        attributes: dict[str, Any] = all_attributes(node)
        first = bool(attributes.get("layout", 0))
        steps = writer.facts.length(node.input[0], 1 if first else 0)
        hidden = writer.facts.length(node.input[2], 2)
        if steps is None or hidden is None or not 0 < steps <= STEPS:
            return None
        direction = attributes.get("direction", "forward")
        directions = ("forward", "reverse") if direction == "bidirectional" else (direction,)
        if attributes.get("hidden_size", hidden) != hidden:
            return None
        rows = gates * hidden
        for index, sizes in ((1, (rows,)), (2, (rows, hidden)), (3, (2 * rows,))):
            name = given(node, index)
            found = [writer.facts.length(name, axis) for axis in range(1 + len(sizes))]
            if name and found != [len(directions), *sizes]:
                return None
        activations = _activations(attributes, usual, len(directions))
        if activations is None or not _whole(writer, given(node, 4), steps):
            return None
        return cls(node, gates, hidden, steps, first, directions, activations, attributes)

    def write(self, writer: StepWriter, step: "Step", states: tuple[int, ...]) -> bool:
        """Write all steps of all directions.

        Parameters
        ----------
        states
            The inputs that hold the first states.
        """
        node, last = self.node, []
        every: list[list[str]] = []
        axis = 1 if self.first else 0
        rows = [writer.cell(node.input[0], t, axis) for t in range(self.steps)]
        for d, direction in enumerate(self.directions):
            weights = LayerWeights.of(self, writer, d)
            state: tuple[str, ...] = tuple(
                writer.cell(name, d, axis) if (name := given(node, index)) else ""
                for index in states
            )
            seen = []
            for row in reversed(rows) if direction == "reverse" else rows:
                state = step(writer, weights, row, state)
                seen.append(state[0])
            every.append(seen[::-1] if direction == "reverse" else seen)
            last.append(state)
        if out := wanted(node, 0):
            sides = [writer.name("Y") for _ in self.directions]
            axes = (1, 2) if self.first else (0, 1)
            for values, side in zip(every, sides, strict=True):
                writer.stacked(values, axes, along=axis, out=side)
            writer.op("Concat", *sides, axis=2 if self.first else 1, out=out)
        for number in range(len(states)):
            if out := wanted(node, 1 + number):
                ends = [state[number] for state in last]
                writer.stacked(ends, (axis,), along=axis, out=out)
        return True


# One step: from the row of a sequence and the states (empty: zeros) to the next states.
Step = Callable[[StepWriter, "LayerWeights", str, tuple[str, ...]], tuple[str, ...]]


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one direction, by the names of values (empty: zeros).

    Attributes
    ----------
    inputs, state
        (inputs, gates * hidden) and (hidden, gates * hidden).
    bias, state_bias
        (1, gates * hidden).
    peepholes
        (1, 3 * hidden) of an LSTM.
    """

    layer: Layer
    inputs: str
    state: str
    bias: str
    state_bias: str
    peepholes: str
    activations: tuple[GateActivation, ...]

    @classmethod
    def of(cls, layer: Layer, writer: StepWriter, direction: int) -> "LayerWeights":
        node, rows = layer.node, layer.gates * layer.hidden
        bias = state_bias = peepholes = ""
        if given(node, 3):
            # Rows of a matrix: ONNX's inference takes vectors of constants for shapes.
            both = writer.cells(given(node, 3), direction, direction + 1, 0)
            bias = writer.cells(both, 0, rows, 1)
            state_bias = writer.cells(both, rows, 2 * rows, 1)
        if given(node, 7):
            peepholes = writer.cells(given(node, 7), direction, direction + 1, 0)
        inputs, state = (
            writer.op("Transpose", writer.cell(node.input[index], direction, 0), perm=[1, 0])
            for index in (1, 2)
        )
        activations = layer.activations[direction]
        return cls(layer, inputs, state, bias, state_bias, peepholes, activations)

    def of_gates(self, writer: StepWriter, begin: int, end: int) -> "LayerWeights":
        """The rows of some gates."""
        first, last = begin * self.layer.hidden, end * self.layer.hidden

        def rows(value: str) -> str:
            return writer.cells(value, first, last, 1) if value else ""

        return replace(
            self,
            inputs=rows(self.inputs),
            state=rows(self.state),
            bias=rows(self.bias),
            state_bias=rows(self.state_bias),
        )

    def from_inputs(self, writer: StepWriter, row: str) -> str:
        """W x + b."""
        return _affine_map(writer, row, self.inputs, self.bias)

    def from_state(self, writer: StepWriter, state: str) -> str:
        """R h + b; empty where that is 0."""
        if not state:
            return self.state_bias
        return _affine_map(writer, state, self.state, self.state_bias)

    def gate(self, writer: StepWriter, values: str, number: int) -> str:
        """The neurons of one gate."""
        hidden = self.layer.hidden
        return writer.cells(values, number * hidden, (number + 1) * hidden, 1)


def added(writer: StepWriter, *terms: str) -> str:
    """The sum of the terms that are not empty; empty where all are."""
    total = ""
    for term in filter(None, terms):
        total = writer.op("Add", total, term) if total else term
    return total


def _affine_map(writer: StepWriter, x: str, weight: str, bias: str) -> str:
    return added(writer, writer.op("MatMul", x, weight), bias)


def _activations(
    attributes: dict[str, Any], usual: tuple[str, ...], directions: int
) -> tuple[tuple[GateActivation, ...], ...] | None:
    """The activations of each direction; None where one is none that can be bounded."""
    names = attributes.get("activations") or [*usual] * directions
    clip = float(attributes.get("clip", 0.0))
    lists = [list(attributes.get(f"activation_{name}", ())) for name in ("alpha", "beta")]
    found = []
    # ONNX names them in any case.
    known = {name.lower(): name for name in PARAMETERS}
    for given_name in names:
        name = known.get(given_name.lower())
        if name is None:
            return None
        # Each function takes from the lists what it has parameters for.
        defaults = PARAMETERS[name]
        values: list[float] = []
        for numbers, default in zip(lists, defaults, strict=False):
            value = numbers.pop(0) if numbers else default
            if value is None:
                return None
            values.append(float(value))
        found.append(GateActivation(name, tuple(values), clip))
    each = len(usual)
    if len(found) != each * directions:
        return None
    return tuple(tuple(found[d * each : (d + 1) * each]) for d in range(directions))


def _whole(writer: StepWriter, lengths: str, steps: int) -> bool:
    """True where every sample's sequence is as long as the tensor."""
    if not lengths:
        return True
    maker = {out: node for node in writer.proto.graph.node for out in node.output}.get(lengths)
    # One number, repeated for a batch of any size.
    if maker is not None and maker.op_type in ("Expand", "Tile"):
        lengths = maker.input[0]
    found = constants(writer, [lengths]).get(lengths)
    return found is not None and bool(np.all(found == steps))
