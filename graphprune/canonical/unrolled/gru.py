"""Gated recurrent units."""

import onnx

from graphprune.canonical.unrolled.base import StepWriter, unrolls
from graphprune.canonical.unrolled.recurrent import Layer, LayerWeights, added

# Rows of weights.
UPDATE, RESET, HIDDEN = range(3)


@unrolls("GRU")
def gru(node: onnx.NodeProto, writer: StepWriter) -> bool:
    """Step by step: z, r = sigmoid(W x + R h + b), n = tanh(W x + R (r h) + b), or with
    ``linear_before_reset`` tanh(W x + b + r (R h + b')), h' = n + z (h - n)."""
    layer = Layer.of(node, writer, 3, ("Sigmoid", "Tanh"))
    return layer is not None and layer.write(writer, _step, (5,))


def _step(
    writer: StepWriter, weights: LayerWeights, row: str, states: tuple[str, ...]
) -> tuple[str, ...]:
    (state,) = states
    squash, to_hidden = weights.activations
    gates = weights.of_gates(writer, UPDATE, HIDDEN)
    hidden = weights.of_gates(writer, HIDDEN, HIDDEN + 1)
    values = added(writer, gates.from_inputs(writer, row), gates.from_state(writer, state))
    update = squash(writer, weights.gate(writer, values, UPDATE))
    # A state of zeros needs no reset, but for the bias that it is multiplied with.
    late = bool(weights.layer.attributes.get("linear_before_reset", 0))
    recurrent = hidden.from_state(writer, state)
    if state or (late and recurrent):
        reset = squash(writer, weights.gate(writer, values, RESET))
        if late:
            recurrent = writer.op("Mul", reset, recurrent)
        else:
            recurrent = hidden.from_state(writer, writer.op("Mul", reset, state))
    inner = added(writer, hidden.from_inputs(writer, row), recurrent)
    new = to_hidden(writer, inner)
    # One product of computed values, not two: z (h - n), where ONNX has z h + (1 - z) n.
    if not state:
        return (writer.op("Sub", new, writer.op("Mul", update, new)),)
    change = writer.op("Mul", update, writer.op("Sub", state, new))
    return (writer.op("Add", new, change),)
