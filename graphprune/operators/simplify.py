"""Apply the pair rules of `merge` to a network until nothing changes."""

from dataclasses import dataclass

import onnx_ir as ir

from graphprune.ir.network import (
    AffineOperator,
    Network,
    NetworkBuilder,
    Operator,
    data_inputs,
    operator,
)
from graphprune.operators.merge import is_identity, merge


@dataclass(eq=False)
class _Step:
    """One operator of a network under rewriting; `inputs` are steps, None the network input."""

    op: Operator
    inputs: list["_Step | None"]
    name: str


def simplify(network: Network) -> Network:
    """Merge adjacent affine operators and drop identities; the function stays the same.

    Only exact rewrites that make the graph no larger: see :mod:`graphprune.operators.merge`.
    """
    steps, output = _steps(network)
    while any(_rewrite(step, steps, output) for step in tuple(steps)):
        pass
    builder = NetworkBuilder(str(network.input.name), network.input_shape)
    values: dict[int, ir.Value] = {}
    for step in steps:
        inputs = (builder.input if s is None else values[id(s)] for s in step.inputs)
        values[id(step)] = builder.add(step.op, *inputs, name=step.name)
    model = builder.finish(values[id(output)], network.model.graph.name or "network")
    model.metadata_props.update(network.model.metadata_props)
    return Network(model, network.source)


def _steps(network: Network) -> tuple[list[_Step], _Step]:
    by_value: dict[int, _Step | None] = {id(network.input): None}
    steps: list[_Step] = []
    for node in network.nodes:
        inputs = [by_value[id(v)] for v in data_inputs(node)]
        step = _Step(operator(node), inputs, str(node.outputs[0].name))
        by_value[id(node.outputs[0])] = step
        steps.append(step)
    output = by_value[id(network.output)]
    assert output is not None  # legalisation gives the output a node of its own
    return steps, output


def _rewrite(step: _Step, steps: list[_Step], output: _Step) -> bool:
    """Try one rewrite at `step`; True when the list of steps changed."""
    if step not in steps or not isinstance(step.op, AffineOperator) or len(step.inputs) != 1:
        return False
    below = step.inputs[0]
    if step is not output and is_identity(step.op):
        return _bypass(step, below, steps)
    if below is None or not isinstance(below.op, AffineOperator):
        return False
    if below is output or sum(s.inputs.count(below) for s in steps) != 1:
        return False
    merged = merge(below.op, step.op)
    if merged is None or (not merged and step is output):
        return False
    if len(merged) == 2:
        below.op, step.op = merged
        # The first operator's output is no longer the file's value of that name.
        below.name = f"{below.name}_moved"
        return True
    steps.remove(below)
    step.inputs = below.inputs
    if not merged:
        return _bypass(step, below.inputs[0], steps)
    step.op = merged[0]
    return True


def _bypass(step: _Step, below: _Step | None, steps: list[_Step]) -> bool:
    for user in steps:
        user.inputs = [below if s is step else s for s in user.inputs]
    steps.remove(step)
    return True
