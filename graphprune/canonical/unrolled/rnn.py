"""Plain recurrent layers."""

import onnx

from graphprune.canonical.unrolled.base import StepWriter, unrolls
from graphprune.canonical.unrolled.recurrent import Layer, LayerWeights, added


@unrolls("RNN")
def rnn(node: onnx.NodeProto, writer: StepWriter) -> bool:
    """Step by step: h' = tanh(W x + R h + b), or another activation."""
    layer = Layer.of(node, writer, 1, ("Tanh",))
    return layer is not None and layer.write(writer, _step, (5,))


def _step(
    writer: StepWriter, weights: LayerWeights, row: str, states: tuple[str, ...]
) -> tuple[str, ...]:
    (state,) = states
    (squash,) = weights.activations
    values = added(writer, weights.from_inputs(writer, row), weights.from_state(writer, state))
    return (squash(writer, values),)
