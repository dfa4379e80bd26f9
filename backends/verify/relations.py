"""Constraints between inputs, or between inputs and outputs: the input as a part of the output.

A network that hands its input on beside its scores turns them into constraints on outputs, so
that bounds, attacks and searches need to know of nothing else.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.ir import Network
from graphprune.ir.network import size
from graphprune.ir.rebuild import NetworkBuilder, map_operators
from graphprune.operators import Concat, Reshape
from graphprune.vnnlib import Constraint

Floats = NDArray[np.float64]


def with_inputs(network: Network) -> Network:
    """A network whose outputs are the scores of `network`, then the elements of its input.

    Its source stays the file of `network`, which has the last word on points.
    """
    return network.cached("with inputs", lambda: _with_inputs(network))


def _with_inputs(network: Network) -> Network:
    count = size(network.input)

    def beside(builder: NetworkBuilder, scores: ir.Value) -> ir.Value:
        flat = builder.add(Reshape(network.input_shape, (count,)), builder.input)
        return builder.add(Concat(0, ((network.classes,), (count,))), scores, flat)

    return map_operators(network, lambda *_: None, finish=beside)


def rows_of_constraints(constraints: Sequence[Constraint], outputs: int, width: int) -> Floats:
    """The coefficients as rows (K, width), each rounded once: outputs, then inputs."""
    rows = np.zeros((len(constraints), width))
    for row, constraint in zip(rows, constraints, strict=True):
        for j, coefficient in constraint.terms:
            row[j] = float(coefficient)
        for i, coefficient in constraint.inputs:
            row[outputs + i] = float(coefficient)
    return rows
