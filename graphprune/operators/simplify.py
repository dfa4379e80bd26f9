"""Apply the pair rules of `merge` to a network until nothing changes."""

import itertools
from dataclasses import dataclass

import onnx_ir as ir

from graphprune.ir.network import (
    AffineOperator,
    Network,
    Operator,
    data_inputs,
    operator,
)
from graphprune.ir.rebuild import NetworkBuilder, rebuilt
from graphprune.operators.add import Add
from graphprune.operators.dense import Dense
from graphprune.operators.merge import absorb_movement, is_identity, merge, parallel
from graphprune.operators.reshape import Reshape
from graphprune.operators.shift import Shift
from graphprune.operators.transpose import Transpose


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

    def write(builder: NetworkBuilder) -> ir.Value:
        values: dict[_Step | None, ir.Value] = {None: builder.input}
        for step in steps:
            values[step] = builder.add(step.op, *(values[s] for s in step.inputs), name=step.name)
        return values[output]

    return rebuilt(network, write)


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
    if step not in steps or not isinstance(step.op, AffineOperator):
        return False
    if isinstance(step.op, Add):
        return _join(step, steps, output)
    if len(step.inputs) != 1:
        return False
    if isinstance(step.op, Dense) and _absorb(step, steps, output):
        return True
    below = step.inputs[0]
    if step is not output and is_identity(step.op):
        return _bypass(step, below, steps)
    if below is None or not isinstance(below.op, AffineOperator):
        return False
    if not _only_reader(below, steps, output):
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


# One side of a sum: what the operator reads, the operator, its step; or the value itself.
_Side = tuple["_Step | None", AffineOperator | None, "_Step | None"]


def _only_reader(step: _Step, steps: list[_Step], output: _Step) -> bool:
    """True where one operator alone reads `step`."""
    return step is not output and sum(s.inputs.count(step) for s in steps) == 1


def _join(step: _Step, steps: list[_Step], output: _Step) -> bool:
    """Simplify a sum of two: parallel maps of one value become one, shifts move above it."""
    for i, side in enumerate(step.inputs):
        if side and isinstance(side.op, Shift) and _only_reader(side, steps, output):
            total = _Step(step.op, list(step.inputs), f"{step.name}_sum")
            total.inputs[i] = side.inputs[0]
            steps.remove(side)
            steps.insert(steps.index(step), total)
            step.op, step.inputs = side.op, [total]
            return True
    # Each side as an operator on what is below it, or as the value itself.
    choices: list[list[_Side]] = []
    for side in step.inputs:
        choices.append([(side, None, None)])
        if (
            side
            and isinstance(side.op, AffineOperator)
            and len(side.inputs) == 1
            and _only_reader(side, steps, output)
        ):
            choices[-1].append((side.inputs[0], side.op, side))
    for (source, first, one), (other, second, two) in itertools.product(*choices):
        if source is not other or first is second is None:
            continue
        made = parallel(first, second)
        if made is not None:
            for gone in (one, two):
                if gone is not None:
                    steps.remove(gone)
            step.op, step.inputs = made, [source]
            return True
    return False


def _absorb(step: _Step, steps: list[_Step], output: _Step) -> bool:
    """Let a matrix read below the transposes and reshapes that only it sees."""
    chain: list[_Step] = []
    below = step.inputs[0]
    while (
        below is not None
        and isinstance(below.op, Reshape | Transpose)
        and _only_reader(below, steps, output)
    ):
        chain.insert(0, below)
        below = below.inputs[0]
    if not any(isinstance(s.op, Transpose) for s in chain):
        return False
    assert isinstance(step.op, Dense)
    moves = [s.op for s in chain if isinstance(s.op, Reshape | Transpose)]
    made = absorb_movement(moves, step.op)
    lowest = chain[0]
    assert isinstance(lowest.op, Reshape | Transpose)
    shape = lowest.op.before if isinstance(lowest.op, Reshape) else lowest.op.shape
    for gone in chain[1:]:
        steps.remove(gone)
    lowest.op, lowest.name = Reshape(shape, made.weight.shape[1:]), f"{lowest.name}_flat"
    step.op, step.inputs = made, [lowest]
    return True


def _bypass(step: _Step, below: _Step | None, steps: list[_Step]) -> bool:
    for user in steps:
        user.inputs = [below if s is step else s for s in user.inputs]
    steps.remove(step)
    return True
