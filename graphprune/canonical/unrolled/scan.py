"""Scans of a sequence."""

from typing import Any

import onnx

from graphprune.canonical.memory import NODES
from graphprune.canonical.unrolled.base import (
    Body,
    StepWriter,
    all_attributes,
    unrolls,
    wanted,
)

# The first opset whose Scan has no batch axis of its own.
WITHOUT_BATCH = 9


@unrolls("Scan")
def scan(node: onnx.NodeProto, writer: StepWriter) -> bool:
    """The body, once for each cell of the axes that are scanned."""
    attributes: dict[str, Any] = all_attributes(node)
    body: onnx.GraphProto = attributes["body"]
    scanned = int(attributes["num_scan_inputs"])
    states, inputs = list(node.input[:-scanned]), list(node.input[-scanned:])
    outputs = len(node.output) - len(states)

    def per(name: str, count: int) -> list[int]:
        return list(attributes.get(name) or [0] * count)

    axes = per("scan_input_axes", scanned)
    lengths = {
        writer.facts.length(name, axis) for name, axis in zip(inputs, axes, strict=True)
    }  # fmt: skip
    steps = lengths.pop() if len(lengths) == 1 else None
    if writer.opset < WITHOUT_BATCH or not steps or steps * len(body.node) > NODES:
        return False
    backward = per("scan_input_directions", scanned)
    written, seen = Body(body, writer), []
    for t in range(steps):
        cells = [
            writer.cell(name, steps - 1 - t if back else t, axis)
            for name, axis, back in zip(inputs, axes, backward, strict=True)
        ]
        results = written.step([*states, *cells])
        states = results[: len(states)]
        seen.append(results[len(states) :])
    for number, state in enumerate(states):
        if out := wanted(node, number):
            writer.op("Identity", state, out=out)
    out_axes = per("scan_output_axes", outputs)
    prepended = per("scan_output_directions", outputs)
    for number, (axis, turned) in enumerate(zip(out_axes, prepended, strict=True)):
        if out := wanted(node, len(states) + number):
            values = [row[number] for row in seen]
            writer.stacked(values[::-1] if turned else values, (axis,), along=axis, out=out)
    return True
