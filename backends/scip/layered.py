"""Networks with smooth activations for SCIP: variables layer by layer, nonlinear constraints.

Every living neuron has a pre-activation z and an output h within their certified bounds:

    ReLU       h >= z, h <= z - l (1 - a), h <= u a with a binary, where unstable
    Sigmoid    h (1 + exp(-z)) = 1
    Tanh       (1 + h) (1 + exp(-2 z)) = 2
    Softplus   exp(h) = 1 + exp(z)
    Gelu tanh  h = z s, s (1 + exp(-2 r (z + 0.044715 z^3))) = 1

SCIP solves these to its tolerances by spatial branch and bound, so what it proves is never called
exact. It has no error function, so the exact Gelu is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import UnsupportedError
from graphprune.ir.network import Network, activation_of
from graphprune.operators import GeluTanh, Relu, Sigmoid, Softplus, Tanh
from graphprune.operators.gelu import ROOT
from graphprune.passes.analysis.bounds import LayerBounds
from graphprune.transforms.matrix import SegmentMatrix, segment_matrix

Floats = NDArray[np.float64]
# Entries below this share of a row's largest are the rounding of its composition.
DROP = 1e-13


@dataclass(frozen=True, eq=False)
class Layered:
    """A network with certified pre-activation bounds (batch of one) on a ball."""

    network: Network
    bounds: list[LayerBounds]
    segments: tuple[SegmentMatrix, ...]


def layer(network: Network, bounds: list[LayerBounds]) -> Layered:
    """Prepare a network for `constrain`.

    Raises
    ------
    UnsupportedError
        An activation has no counterpart in SCIP.
    """
    for activation in network.activations:
        if type(activation_of(activation)) not in CURVES:
            kind = type(activation_of(activation)).__name__
            raise UnsupportedError(
                f"node '{activation.name}' ({kind}): SCIP has no such function, so d_bnd is not"
                " available; d_adv and d_rob are (--metrics adv,rob)"
            )
    return Layered(network, bounds, tuple(segment_matrix(s) for s in network.segments))


def constrain(model: Any, inputs: list[Any], row: Floats, problem: Layered) -> None:
    """Add the network over the variables `inputs`, and that `row` . logits is at most 0."""
    network = problem.network
    values: dict[int, list[Any]] = {id(network.input): inputs}
    for index, activation in enumerate(network.activations):
        segment, matrix = network.segments[index], problem.segments[index]
        sigma, bounds = activation_of(activation), problem.bounds[index]
        lower, upper = bounds.lower[0].astype(np.float64), bounds.upper[0].astype(np.float64)
        low, high = sigma.interval(lower, upper)
        outputs: list[Any] = [0.0] * len(lower)
        for i in np.flatnonzero(network.alive(activation)):
            z = model.addVar(f"z{index}_{i}", lb=float(lower[i]), ub=float(upper[i]))
            h = model.addVar(f"h{index}_{i}", lb=float(low[i]), ub=float(high[i]))
            weights = [np.asarray(w[[i]].todense()).reshape(-1) for w in matrix.weights]
            below = _line(weights, [values[id(s)] for s in segment.sources])
            model.addCons(below - z == -float(matrix.offset[i]))
            CURVES[type(sigma)](sigma, model, z, h, float(lower[i]), float(upper[i]))
            outputs[i] = h
        values[id(activation.outputs[0])] = outputs
    top, matrix = network.segments[-1], problem.segments[-1]
    weights = [np.asarray(w.T @ row).reshape(-1) for w in matrix.weights]
    margin = _line(weights, [values[id(s)] for s in top.sources])
    model.addCons(margin <= -float(row @ matrix.offset))


def _line(weights: list[Floats], variables: list[list[Any]]) -> Any:
    from pyscipopt import Expr
    from pyscipopt.scip import Term

    largest = max((float(np.max(np.abs(w), initial=0.0)) for w in weights), default=0.0)
    terms: dict[Any, float] = {}
    for part, below in zip(weights, variables, strict=True):
        for j in np.flatnonzero(np.abs(part) > DROP * largest):
            if not isinstance(below[j], float):  # a dead neuron's output is read by nobody
                term = Term(below[j])
                terms[term] = terms.get(term, 0.0) + float(part[j])
    return Expr(terms)


def _relu(sigma: Any, model: Any, z: Any, h: Any, lower: float, upper: float) -> None:
    if lower >= 0:
        model.addCons(h - z == 0)
    elif upper > 0:
        a = model.addVar(vtype="B")
        model.addCons(h - z >= 0)
        model.addCons(h - z - lower * a <= -lower)
        model.addCons(h - upper * a <= 0)


def _sigmoid(sigma: Any, model: Any, z: Any, h: Any, lower: float, upper: float) -> None:
    from pyscipopt import exp

    model.addCons(h * (1 + exp(-z)) == 1)


def _tanh(sigma: Any, model: Any, z: Any, h: Any, lower: float, upper: float) -> None:
    from pyscipopt import exp

    model.addCons((1 + h) * (1 + exp(-2 * z)) == 2)


def _softplus(sigma: Any, model: Any, z: Any, h: Any, lower: float, upper: float) -> None:
    from pyscipopt import exp

    model.addCons(exp(h) - exp(z) == 1)


def _gelu_tanh(sigma: Any, model: Any, z: Any, h: Any, lower: float, upper: float) -> None:
    from pyscipopt import exp

    s = model.addVar(lb=0.0, ub=1.0)
    model.addCons(s * (1 + exp(-2 * ROOT * (z + sigma.cube * z * z * z))) == 1)
    model.addCons(h - z * s == 0)


Curve = Callable[[Any, Any, Any, Any, float, float], None]
CURVES: dict[type, Curve] = {
    Relu: _relu,
    Sigmoid: _sigmoid,
    Tanh: _tanh,
    Softplus: _softplus,
    GeluTanh: _gelu_tanh,
}
