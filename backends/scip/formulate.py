"""Networks as mixed-integer programs: min radius such that f_t(x) >= f_y(x).

Tjeng et al. 2019 (MIPVerify), with the radius itself as the objective: x within [x0 - e, x0 + e]
and the box, one binary per unstable neuron, bounds from certified pre-activation bounds. Two forms:

condensed   variables for the inputs and the unstable neurons only; everything stable is
            substituted, so rows may be dense
layered     a variable for every live neuron, rows as sparse as the network's own; smooth
            activations as nonlinear constraints

    Sigmoid    h (1 + exp(-z)) = 1
    Tanh       (1 + h) (1 + exp(-2 z)) = 2
    Softplus   exp(h) = 1 + exp(z)
    Gelu tanh  h = z s, s (1 + exp(-2 r (z + 0.044715 z^3))) = 1

SCIP solves these to its tolerances by spatial branch and bound, so what it proves is never called
exact. It has no error function, so the exact Gelu is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from graphprune.backends.relaxation.condensed import UNIT, Condensed
from graphprune.backends.scip.program import (
    Bools,
    Encoding,
    Floats,
    Ints,
    MixedIntegerProgram,
    ProgramBuilder,
    without_noise,
)
from graphprune.bounds import LayerBounds
from graphprune.errors import UnsupportedError
from graphprune.functions import GeluTanh, Sigmoid, Softplus, Tanh
from graphprune.ir.network import Network, activation_of
from graphprune.operators import Relu
from graphprune.region import Ball
from graphprune.transforms.matrix import matrix_of

ProgramForm = Literal["auto", "condensed", "layered"]
PROGRAM_FORMS: tuple[ProgramForm, ...] = ("auto", "condensed", "layered")

CURVES: dict[type, str] = {
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    Softplus: "softplus",
    GeluTanh: "gelu-tanh",
}


# The condensed form may have so many times the entries of the layered one.
DENSER = 2.0


@dataclass(frozen=True, eq=False)
class Layered:
    """A network with certified pre-activation bounds (batch of one) on a ball."""

    network: Network
    bounds: Sequence[tuple[Floats, Floats]]


def layer(network: Network, bounds: Sequence[LayerBounds]) -> Layered:
    """Prepare a network for `formulate`.

    Raises
    ------
    UnsupportedError
        An activation has no counterpart in SCIP.
    """
    for activation in network.activations:
        kind = type(activation_of(activation))
        if kind is not Relu and kind not in CURVES:
            raise UnsupportedError(
                f"node '{activation.name}' ({kind.__name__}): SCIP has no such function;"
                " attack and certificate know it"
            )
    pairs = [(b.lower[0].astype(np.float64), b.upper[0].astype(np.float64)) for b in bounds]
    return Layered(network, pairs)


def formulate(
    problem: Condensed | Layered,
    ball: Ball,
    row: Floats,
    *,
    lower: float = 0.0,
    strict: float = 0.0,
    exact: Sequence[Bools] | None = None,
    encoding: Encoding = "auto",
) -> MixedIntegerProgram:
    """The program of one target.

    Parameters
    ----------
    problem
        The network over `ball`.
    row
        (classes,) e_y - e_t.
    lower
        A proven lower bound of the distance.
    strict
        The margin must reach minus this.
    exact
        Per layer of a condensed problem, the neurons whose ReLU is modelled; the others keep the
        triangle between their bounds, so the result is a lower bound. None: all of them.
    """
    b = ProgramBuilder(ball, lower)
    if isinstance(problem, Layered):
        _layered(b, row, problem, strict, encoding)
    else:
        inputs = np.maximum(np.abs(ball.lower), np.abs(ball.upper)).reshape(-1)
        outputs = [np.maximum(layer.upper, 0.0) for layer in problem.layers]
        extent = np.concatenate([inputs, *outputs])
        _condensed(b, row, problem, strict, exact, encoding, extent)
    return b.build()


def _condensed(
    b: ProgramBuilder, row: Floats, problem: Condensed, strict: float,
    exact: Sequence[Bools] | None, encoding: Encoding, extent: Floats,
) -> None:  # fmt: skip
    basis = b.x
    for number, part in enumerate(problem.layers):
        z = b.variables(part.lower, part.upper)
        weights = without_noise(part.rows, extent)
        error = part.error + abs(part.rows - weights) @ extent[: len(basis)]
        first = b.rows({"v": (weights, basis), "z": (-np.ones(len(z)), z)},
                       low=-part.offset, high=-part.offset, error=error)  # fmt: skip
        whole = np.ones(len(z), bool) if exact is None else exact[number]
        h = b.relu(z, first, np.arange(len(z)), whole, encoding)
        basis = np.concatenate([basis, h])
    whole_row = sparse.csr_array((row @ problem.logits)[None])
    margin = without_noise(whole_row, extent)
    error = abs(whole_row - margin) @ extent + np.abs(row) @ problem.error
    # Forming the row of the margin rounds, too.
    error += 4 * len(row) * UNIT * (np.abs(row) @ np.abs(problem.logits) @ extent)
    error += 4 * len(row) * UNIT * (np.abs(row) @ np.abs(problem.offset))
    b.rows({"v": (margin, basis)}, high=np.array([-float(row @ problem.offset) - strict]),
           error=error)  # fmt: skip


def _layered(
    b: ProgramBuilder, row: Floats, problem: Layered, strict: float, encoding: Encoding
) -> None:
    network = problem.network
    # Variables of every value's elements; -1 where an element is 0 or nobody reads it.
    values: dict[int, Ints] = {id(network.input): b.x}
    for index, activation in enumerate(network.activations):
        sigma, (lower, upper) = activation_of(activation), problem.bounds[index]
        alive = network.live(activation)
        linear = isinstance(sigma, Relu)
        chosen = np.flatnonzero(alive & (upper > 0) if linear else alive)
        low, high = lower[chosen], upper[chosen]
        z = b.variables(low, high)
        matrix = matrix_of(network, index)
        terms = {
            str(k): _live(b, weight[chosen], values[id(source)])
            for k, (weight, source) in enumerate(
                zip(matrix.weights, network.segments[index].sources, strict=True)
            )
        }
        offset = -matrix.offset[chosen]
        first = b.rows(terms | {"z": (-np.ones(len(z)), z)}, low=offset, high=offset, error=np.inf)
        outputs = np.full(len(lower), -1)
        outputs[chosen] = z
        if linear:
            unstable = np.flatnonzero(low < 0)
            exact = np.ones(len(unstable), bool)
            outputs[chosen[unstable]] = b.relu(z, first, unstable, exact, encoding)
        else:
            b.layer(z, first)
            h = b.variables(*sigma.interval(low, high))
            outputs[chosen] = h
            parameter = float(getattr(sigma, "cube", 0.0))
            for i, j in zip(z, h, strict=True):
                b.curve(CURVES[type(sigma)], int(i), int(j), parameter)
        values[id(activation.outputs[0])] = outputs
    last = len(network.activations)
    matrix, sources = matrix_of(network, last), network.segments[-1].sources
    terms = {
        str(k): _live(b, sparse.csr_array((weight.T @ row)[None]), values[id(source)])
        for k, (weight, source) in enumerate(zip(matrix.weights, sources, strict=True))
    }
    b.rows(terms, high=np.array([-float(row @ matrix.offset) - strict]), error=np.inf)


def _live(
    b: ProgramBuilder, weights: sparse.csr_array, columns: Ints
) -> tuple[sparse.csr_array, Ints]:
    """The columns that have a variable."""
    live = np.flatnonzero(columns >= 0)
    kept = sparse.csr_array(weights[:, live])
    return without_noise(kept, b.extent(columns[live])), columns[live]


def prefers_layers(condensed: Condensed, layered: Layered) -> bool:
    """True where the layered form is so much sparser that its additional variables pay."""
    own = sum(part.rows.nnz for part in condensed.layers)
    network = layered.network
    sparse_entries = 0
    for index, (activation, (_, upper)) in enumerate(
        zip(network.activations, layered.bounds, strict=True)
    ):
        chosen = network.live(activation) & (upper > 0)
        matrix = matrix_of(network, index)
        sparse_entries += sum(weight[chosen].nnz for weight in matrix.weights)
    return own > DENSER * sparse_entries
