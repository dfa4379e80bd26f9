"""The engine of interval bounds: a whole ReLU network in one run, and rows on top of it."""

from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.bounds.compact import worthwhile
from graphprune.bounds.compact.engine import LARGEST, TINY
from graphprune.bounds.problem import BoundsProblem, Floats, LayerBounds, finite
from graphprune.bounds.protocol import Ascent, EngineName
from graphprune.ir.network import size
from graphprune.runtime.resources import Resources
from graphprune.runtime.session import compiled
from graphprune.transforms.matrix import matrix_of
from graphprune.transforms.rounding import gamma64


class IntervalEngine:
    """The method ``ibp`` on ReLU networks: layers by one float32 graph, rows in float64."""

    name: ClassVar[EngineName] = "interval"

    def __init__(self, problem: BoundsProblem, resources: Resources, ascent: Ascent) -> None:
        self.problem = problem

    @staticmethod
    def suits(problem: BoundsProblem, resources: Resources) -> bool:
        network = problem.network
        # (Without an activation the graph would have no outputs.)
        exact = network.piecewise_linear and network.activations and not problem.replaced
        fits = worthwhile(network, resources.memory // 2)
        return problem.method == "ibp" and bool(exact) and fits

    @cached_property
    def _layers(self) -> list[LayerBounds]:
        """Bounds of every pre-activation, in graph order."""
        problem = self.problem
        network, boxes = problem.network, problem.boxes
        shape = (problem.batch, *network.input_shape)
        feeds = {"lower": boxes.lower.reshape(shape), "upper": boxes.upper.reshape(shape)}
        run = compiled(network, "intervals", lambda: transforms.intervals(network))
        outputs = [found.reshape(problem.batch, -1) for found in run(feeds)]
        finite(*outputs)
        return [LayerBounds(*outputs[i : i + 3]) for i in range(0, len(outputs), 3)]

    def interval(self, index: int) -> LayerBounds:
        """Interval image of a pre-activation's segment."""
        return self._layers[index]

    def neurons(
        self, index: int, chosen: NDArray[np.bool_], *, until_stable: bool
    ) -> tuple[Floats, Floats]:
        """Nothing better than the intervals is known."""
        return np.full(chosen.shape, -np.inf), np.full(chosen.shape, np.inf)

    def rows(self, index: int, rows: Floats) -> Floats:
        """Lower bounds (B, R) of rows (R, n) times the target of a segment, in float64."""
        problem = self.problem
        network = problem.network
        matrix = matrix_of(network, index)
        absolute = np.abs(rows)
        total = np.broadcast_to(rows @ matrix.offset, (problem.batch, len(rows))).copy()
        terms = np.broadcast_to(absolute @ matrix.offset_size, total.shape).copy()
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
