"""Long short-term memory."""

import onnx

from graphprune.canonical.unrolled.base import StepWriter, unrolls
from graphprune.canonical.unrolled.recurrent import Layer, LayerWeights, added

# Rows of weights, and of peepholes.
INPUT, OUTPUT, FORGET, CELL = range(4)


@unrolls("LSTM")
def lstm(node: onnx.NodeProto, writer: StepWriter) -> bool:
    """Step by step: i, o, f = sigmoid(W x + R h + p c + b), c' = f c + i tanh(W x + R h + b),
    h' = o tanh(c')."""
    layer = Layer.of(node, writer, 4, ("Sigmoid", "Tanh", "Tanh"))
    return layer is not None and layer.write(writer, _step, (5, 6))


def _step(
    writer: StepWriter, weights: LayerWeights, row: str, states: tuple[str, ...]
) -> tuple[str, ...]:
    state, cell = states
    squash, to_cell, from_cell = weights.activations
    values = added(writer, weights.from_inputs(writer, row), weights.from_state(writer, state))

    def gate(number: int, seen: str) -> str:
        inner = weights.gate(writer, values, number)
        if weights.peepholes and seen and number != CELL:
            peephole = weights.gate(writer, weights.peepholes, number)
            inner = added(writer, inner, writer.op("Mul", seen, peephole))
        return (to_cell if number == CELL else squash)(writer, inner)

    entering = gate(INPUT, cell)
    new = writer.op("Mul", entering, gate(CELL, ""))
    if cell:
        if weights.layer.attributes.get("input_forget", 0):
            kept = writer.op("Sub", writer.number(1.0, entering), entering)
        else:
            kept = gate(FORGET, cell)
        new = writer.op("Add", writer.op("Mul", kept, cell), new)
    return writer.op("Mul", gate(OUTPUT, new), from_cell(writer, new)), new
