"""Neurons that say the same: constant ones go into biases, equal ones become one."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir.network import Network, data_inputs, operator, pre_activation, sample_shape
from graphprune.ir.rebuild import NetworkBuilder, Values, map_operators
from graphprune.operators import Conv, Dense, Relu, Reshape
from graphprune.operators.simplify import simplify

Floats = NDArray[np.float64]
# A unit is a neuron of a vector, or a channel of a convolution.
Units = NDArray[np.intp]
# New operators by the id of their node.
Edits = dict[int, Conv | Dense]


# Runtimes compute so many channels at a time, and are slower on a number that is no multiple.
BLOCK = 16


def merge_neurons(network: Network, *, block: int = 1) -> tuple[Network, dict[str, int]]:
    """The same function with fewer units; how many neurons went, by reason.

    Parameters
    ----------
    block
        Numbers of channels that are a multiple of this stay one: some are left that nothing reads.
    """
    network = simplify(network)
    edits: Edits = {}
    counts = {"constant": 0, "repeated": 0}
    for activation in network.activations:
        layer = PlainLayer.of(network, activation, edits)
        if layer is not None:
            for kind, number in layer.shrink(multiple=block).items():
                counts[kind] += number
            edits |= layer.edits()
    return (_rebuilt(network, edits) if edits else network), counts


@dataclass(eq=False)
class PlainLayer:
    """A plain layer: the node that makes its units, and the nodes that read them.

    Attributes
    ----------
    keep
        Units left.
    shrunk
        True where the readers took over what units say.
    """

    below: ir.Node
    activation: ir.Node
    readers: list[ir.Node]
    made: Conv | Dense
    reading: list[Conv | Dense]
    keep: Units
    shrunk: bool = False

    @classmethod
    def of(cls, network: Network, activation: ir.Node, edits: Edits) -> "PlainLayer | None":
        """The layer around an activation, as edited so far; None where it is not plain."""
        below = pre_activation(activation).producer()
        if below is None or not isinstance(operator(activation), Relu):
            return None
        made = edits.get(id(below)) or _plain(operator(below))
        if made is None or len(list(pre_activation(activation).uses())) != 1:
            return None
        readers: list[ir.Node] = []
        reading: list[Conv | Dense] = []
        pending = [activation.outputs[0]]
        while pending:
            value = pending.pop()
            if value is network.output:
                return None
            for node, _ in value.uses():
                op = operator(node)
                plain = _plain(op)
                if isinstance(op, Reshape) and len(op.after) == 1:
                    pending.append(node.outputs[0])
                elif plain is not None:
                    readers.append(node)
                    reading.append(plain)
                else:
                    return None
        if not readers:
            return None
        return cls(below, activation, readers, made, reading, np.arange(len(made.bias)))

    def _column_blocks(self, op: Conv | Dense) -> Floats:
        """The reader's weight as (outputs, units, ...)."""
        return op.weight.reshape(op.weight.shape[0], len(self.made.bias), -1)

    def _with_blocks(self, op: Conv | Dense, blocks: Floats) -> Conv | Dense:
        return replace(op, weight=blocks.reshape(op.weight.shape))

    def shrink(self, *, multiple: int = 1) -> dict[str, int]:
        """Fold constant and repeated units into the readers; `keep` are the ones left."""
        rows = np.concatenate(
            [self.made.weight.reshape(len(self.made.bias), -1), self.made.bias[:, None]], axis=1
        )
        blocks = [self._column_blocks(op).copy() for op in self.reading]
        alive = (
            np.any([np.any(b != 0, axis=(0, 2)) for b in blocks], axis=0)
            if blocks
            else np.zeros(len(rows), bool)
        )
        constant = alive & ~np.any(rows[:, :-1], axis=1)
        padded = any(isinstance(op, Conv) and any(op.pads) for op in self.reading)
        if padded:
            constant &= rows[:, -1] <= 0
        value = np.maximum(rows[:, -1], 0.0)
        for i, op in enumerate(self.reading):
            moved = blocks[i][:, constant].sum(axis=2) @ value[constant]
            self.reading[i] = replace(op, bias=op.bias + moved)
        first: dict[bytes, int] = {}
        repeated = np.zeros(len(rows), dtype=bool)
        for unit in np.flatnonzero(alive & ~constant):
            size = float(np.max(np.abs(rows[unit])))
            key = (rows[unit] / size).round(12).tobytes()
            one = first.setdefault(key, int(unit))
            if one != unit:
                factor = size / float(np.max(np.abs(rows[one])))
                # Only what is a multiple to the last bits, not merely close.
                if np.allclose(factor * rows[one], rows[unit], rtol=1e-13, atol=0):
                    repeated[unit] = True
                    for block in blocks:
                        block[:, one] += factor * block[:, unit]
        self.shrunk = bool(np.any(constant | repeated))
        self.keep = np.flatnonzero(alive & ~constant & ~repeated)
        if not len(self.keep):
            # A layer keeps one unit that nothing reads; dead layers are `without_dead_layers`.
            self.keep = np.array([0])
            for block in blocks:
                block[:, 0] *= float(not (constant[0] or repeated[0]))
        self._fill(multiple, constant | repeated, blocks)
        self.reading = [
            self._with_blocks(op, block) for op, block in zip(self.reading, blocks, strict=True)
        ]
        per_unit = int(np.prod(sample_shape(pre_activation(self.activation))[1:], dtype=int))
        return {
            "constant": per_unit * int(constant.sum()), "repeated": per_unit * int(repeated.sum()),
        }  # fmt: skip

    def _fill(self, multiple: int, folded: NDArray[np.bool_], columns: list[Floats]) -> None:
        """Keep channels that nothing reads any more, up to the next `multiple`."""
        count = len(self.made.bias)
        missing = -len(self.keep) % multiple
        if not isinstance(self.made, Conv) or count % multiple or not missing:
            return
        spare = np.setdiff1d(np.arange(count), self.keep)[:missing]
        for one in columns:
            one[:, spare[folded[spare]]] = 0.0
        self.keep = np.sort(np.concatenate([self.keep, spare]))

    def edits(self) -> Edits:
        """New operators by node: fewer rows below, fewer columns above."""
        if len(self.keep) == len(self.made.bias) and not self.shrunk:
            return {}
        found = {id(self.below): _rows(self.made, self.keep)}
        for node, op in zip(self.readers, self.reading, strict=True):
            blocks = self._column_blocks(op)[:, self.keep]
            if isinstance(op, Conv):
                shape = (op.weight.shape[0], len(self.keep), *op.weight.shape[2:])
                inner = (len(self.keep), *op.in_shape[1:])
                found[id(node)] = replace(op, weight=blocks.reshape(shape), in_shape=inner)
            else:
                found[id(node)] = replace(op, weight=blocks.reshape(op.weight.shape[0], -1))
        return found


def _plain(op: object) -> Conv | Dense | None:
    """The operator itself where it is a layer whose units are rows and columns of its weight."""
    if isinstance(op, Conv) and op.group == 1:
        return op
    return op if isinstance(op, Dense) else None


def _rows(op: Conv | Dense, keep: Units) -> Conv | Dense:
    return replace(op, weight=op.weight[keep], bias=op.bias[keep])


def _rebuilt(network: Network, edits: Edits) -> Network:
    def change(builder: NetworkBuilder, node: ir.Node, values: Values) -> ir.Value | None:
        op = edits.get(id(node), operator(node))
        inputs = [values[v] for v in data_inputs(node)]
        if isinstance(op, Reshape):
            before = sample_shape(inputs[0])
            if before != op.before:
                op = Reshape(before, (prod(before),))
        return builder.add(op, *inputs, name=node.outputs[0].name)

    return map_operators(network, change)
