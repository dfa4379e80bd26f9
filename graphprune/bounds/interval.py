"""Interval bounds of a whole ReLU network in one run, and of rows on top of it."""

import numpy as np

from graphprune import transforms
from graphprune.bounds.compact import worthwhile
from graphprune.bounds.compact.engine import LARGEST, TINY
from graphprune.bounds.problem import Floats, LayerBounds, Problem, finite
from graphprune.ir.network import size
from graphprune.runtime.session import compiled
from graphprune.transforms.matrix import matrix_of
from graphprune.transforms.rounding import gamma64


def suits(problem: Problem, memory: int) -> bool:
    """Whether the problem is one for this module; `memory` in bytes."""
    # (Without an activation the graph would have no outputs.)
    exact = (
        problem.network.piecewise_linear and not problem.replaced and problem.network.activations
    )
    return problem.method == "ibp" and bool(exact) and worthwhile(problem.network, memory)


def layers(problem: Problem) -> list[LayerBounds]:
    """Bounds of every pre-activation, in graph order."""
    network, boxes = problem.network, problem.boxes
    shape = (problem.batch, *network.input_shape)
    feeds = {"lower": boxes.lower.reshape(shape), "upper": boxes.upper.reshape(shape)}
    run = compiled(network, "intervals", lambda: transforms.intervals(network))
    outputs = [found.reshape(problem.batch, -1) for found in run(feeds)]
    finite(*outputs)
    return [LayerBounds(*outputs[i : i + 3]) for i in range(0, len(outputs), 3)]


def rows(problem: Problem, index: int, rows: Floats) -> Floats:
    """Lower bounds (B, R) of rows (R, n) times the target of a segment, in float64."""
    network = problem.network
    matrix = matrix_of(network, index)
    absolute = np.abs(rows)
    size_ = absolute @ matrix.offset_size
    total = np.broadcast_to(rows @ matrix.offset, (problem.batch, len(rows))).copy()
    terms = np.broadcast_to(size_, total.shape).copy()
    roundings = matrix.roundings + size(network.segments[index].target) + 64
    for source, weight, sizes in zip(
        network.segments[index].sources, matrix.weights, matrix.sizes, strict=True
    ):
        low, high = (end.astype(np.float64) for end in problem.source(source))
        below = (weight.T @ rows.T).T
        total += low @ np.maximum(below, 0.0).T + high @ np.minimum(below, 0.0).T
        terms += np.maximum(np.abs(low), np.abs(high)) @ (sizes.T @ absolute.T)
        roundings += size(source)
    finite(total)
    if not np.all(terms < LARGEST):
        finite(np.full(1, np.inf))
    bound: Floats = total - gamma64(roundings) * terms - TINY
    return bound
