"""Apply the pair rules of `merge` to a network until nothing changes."""

import itertools
from collections import Counter
from dataclasses import dataclass

import onnx_ir as ir

from graphprune.ir.network import (
    AffineOperator,
    Network,
    Operator,
    data_inputs,
    is_affine_operator,
    operator,
)
from graphprune.ir.rebuild import NetworkBuilder, rebuilt
from graphprune.operators.add import Add
from graphprune.operators.dense import Dense
from graphprune.operators.merge import Merged, absorb_movement, is_identity, merge, parallel
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
    steps = _Steps(*_steps(network))
    while any(_rewrite(step, steps) for step in tuple(steps.all)):
        steps.changed()

    def write(builder: NetworkBuilder) -> ir.Value:
        values: dict[_Step | None, ir.Value] = {None: builder.input}
        for step in steps.all:
            values[step] = builder.add(step.op, *(values[s] for s in step.inputs), name=step.name)
        return values[steps.output]

    return rebuilt(network, write)


class _Steps:
    """The steps of a network in graph order, who reads them, and which pairs were tried."""

    def __init__(self, steps: list[_Step], output: _Step) -> None:
        self.all = steps
        self.output = output
        # Operators never change: a pair that was tried need not be again. They are kept alive, so
        # that no other has their number.
        self._merged: dict[tuple[int, int], tuple[Operator, Operator, Merged]] = {}
        self.changed()

    def changed(self) -> None:
        """Count readers anew."""
        self._present = set(self.all)
        self._readers = Counter(below for step in self.all for below in step.inputs)

    def __contains__(self, step: _Step) -> bool:
        return step in self._present

    def only_reader(self, step: _Step) -> bool:
        """True where one operator alone reads `step`."""
        return step is not self.output and self._readers[step] == 1

    def merge(self, first: AffineOperator, second: AffineOperator) -> Merged:
        """`graphprune.operators.merge.merge`, once for every pair."""
        key = id(first), id(second)
        if key not in self._merged:
            self._merged[key] = (first, second, merge(first, second))
        return self._merged[key][2]


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


def _rewrite(step: _Step, steps: _Steps) -> bool:
    """Try one rewrite at `step`; True when the list of steps changed."""
    if step not in steps or not is_affine_operator(step.op):
        return False
    if isinstance(step.op, Add):
        return _join(step, steps)
    if len(step.inputs) != 1:
        return False
    if isinstance(step.op, Dense) and _absorb(step, steps):
        return True
    below = step.inputs[0]
    if step is not steps.output and is_identity(step.op):
        return _bypass(step, below, steps)
    if below is None or not is_affine_operator(below.op):
        return False
    if not steps.only_reader(below):
        return False
    merged = steps.merge(below.op, step.op)
    if merged is None or (not merged and step is steps.output):
        return False
    if len(merged) == 2:
        below.op, step.op = merged
        # The first operator's output is no longer the file's value of that name.
        below.name = f"{below.name}_moved"
        return True
    steps.all.remove(below)
    step.inputs = below.inputs
    if not merged:
        return _bypass(step, below.inputs[0], steps)
    step.op = merged[0]
    return True


# One side of a sum: what the operator reads, the operator, its step; or the value itself.
_Side = tuple["_Step | None", AffineOperator | None, "_Step | None"]


def _join(step: _Step, steps: _Steps) -> bool:
    """Simplify a sum of two: parallel maps of one value become one, shifts move above it."""
    for i, side in enumerate(step.inputs):
        if side and isinstance(side.op, Shift) and steps.only_reader(side):
            total = _Step(step.op, list(step.inputs), f"{step.name}_sum")
            total.inputs[i] = side.inputs[0]
            steps.all.remove(side)
            steps.all.insert(steps.all.index(step), total)
            step.op, step.inputs = side.op, [total]
            return True
    # Each side as an operator on what is below it, or as the value itself.
    choices: list[list[_Side]] = []
    for side in step.inputs:
        choices.append([(side, None, None)])
        if (
            side
            and is_affine_operator(side.op)
            and len(side.inputs) == 1
            and steps.only_reader(side)
        ):
            choices[-1].append((side.inputs[0], side.op, side))
    for (source, first, one), (other, second, two) in itertools.product(*choices):
        if source is not other or first is second is None:
            continue
        made = parallel(first, second)
        if made is not None:
            for gone in (one, two):
                if gone is not None:
                    steps.all.remove(gone)
            step.op, step.inputs = made, [source]
            return True
    return False


def _absorb(step: _Step, steps: _Steps) -> bool:
    """Let a matrix read below the transposes and reshapes that only it sees."""
    chain: list[_Step] = []
    below = step.inputs[0]
    while (
        below is not None and isinstance(below.op, Reshape | Transpose) and steps.only_reader(below)
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
        steps.all.remove(gone)
    lowest.op, lowest.name = Reshape(shape, made.weight.shape[1:]), f"{lowest.name}_flat"
    step.op, step.inputs = made, [lowest]
    return True


def _bypass(step: _Step, below: _Step | None, steps: _Steps) -> bool:
    for user in steps.all:
        user.inputs = [below if s is step else s for s in user.inputs]
    steps.all.remove(step)
    return True
