"""Loops."""

import numpy as np
import onnx

from graphprune.canonical.memory import NODES
from graphprune.canonical.unrolled.base import (
    Body,
    StepWriter,
    all_attributes,
    constants,
    given,
    unrolls,
    wanted,
)


@unrolls("Loop")
def loop(node: onnx.NodeProto, writer: StepWriter) -> bool:
    """The body, as often as its trip count says; its condition must be a constant."""
    body = all_attributes(node)["body"]
    assert isinstance(body, onnx.GraphProto)
    trips, condition = given(node, 0), given(node, 1)
    known = constants(writer, filter(None, (trips, condition)))
    begins = not condition or (condition in known and bool(known[condition].all()))
    if trips not in known or not begins or not _goes_on(body, writer):
        return False
    steps = int(known[trips].reshape(-1)[0])
    carried = list(node.input[2:])
    # Without a step what it collects is empty, and has no shape.
    if steps < 1 or steps * len(body.node) > NODES:
        return False
    written, seen = Body(body, writer), []
    going = condition or writer.constant(np.array(True))
    for t in range(steps):
        step = writer.constant(np.array(t, np.int64))
        going, *results = written.step([step, going, *carried])
        carried = results[: len(carried)]
        seen.append(results[len(carried) :])
    for number, state in enumerate(carried):
        if out := wanted(node, number):
            writer.op("Identity", state, out=out)
    for number in range(len(node.output) - len(carried)):
        if out := wanted(node, len(carried) + number):
            writer.stacked([row[number] for row in seen], (0,), along=0, out=out)
    return True


def _goes_on(body: onnx.GraphProto, writer: StepWriter) -> bool:
    """True where the body never ends the loop: it passes on what it got, or a constant."""
    makers = {out: node for node in body.node for out in node.output}
    stored = {tensor.name: tensor for tensor in body.initializer}
    name = body.output[0].name
    while (maker := makers.get(name)) is not None and maker.op_type in ("Identity", "Cast"):
        name = maker.input[0]
    if name == body.input[1].name:
        return True
    if name in stored:
        return bool(onnx.numpy_helper.to_array(stored[name]).all())
    if maker is not None:
        tensors = [a.t for a in maker.attribute if a.name == "value"]
        return maker.op_type == "Constant" and any(
            onnx.numpy_helper.to_array(tensor).all() for tensor in tensors
        )
    found = constants(writer, [name]).get(name)
    return found is not None and bool(found.all())
