"""Usual sizes of computed values: of what they are at a few inputs.

They only choose between forms that are equal in real arithmetic, for the one that rounds less.
"""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.functions.reference import NEW_OPS
from graphprune.ir.builder import GraphBuilder
from graphprune.ir.network import BATCH, data_inputs, operator, sample_shape
from graphprune.ir.rebuild import NetworkBuilder

Floats = NDArray[np.float64]

POINTS = 4


class Magnitudes:
    """Sizes of the values of a canonical graph that is being written."""

    def __init__(self, builder: NetworkBuilder) -> None:
        self._builder = builder
        shape = (POINTS, *sample_shape(builder.input))
        self._values: dict[ir.Value, Floats] = {
            builder.input: np.random.default_rng(0).uniform(0.0, 1.0, shape)
        }
        self._done = 0

    def of(self, value: ir.Value) -> float:
        """The largest absolute value at a few inputs between 0 and 1; 1 where that is no size."""
        nodes = self._builder.graph.nodes
        self._evaluate(nodes[self._done :])
        self._done = len(nodes)
        with np.errstate(invalid="ignore"):
            size = float(np.max(np.abs(self._values[value]), initial=0.0))
        return size if 1e-30 < size < 1e30 else 1.0

    def _evaluate(self, nodes: list[ir.Node]) -> None:
        from onnx.reference import ReferenceEvaluator

        b = GraphBuilder(np.float64)
        here: dict[ir.Value, ir.Value] = {}
        feeds: dict[str, Floats] = {}
        for node in nodes:
            for value in data_inputs(node):
                if value not in here:
                    name = f"known{len(feeds)}"
                    here[value] = b.input(name, [BATCH, *sample_shape(value)])
                    feeds[name] = self._values[value]
            inputs = [here[value] for value in data_inputs(node)]
            here[node.outputs[0]] = operator(node).forward(b, *inputs)
        made = [node.outputs[0] for node in nodes]
        for k, value in enumerate(made):
            b.output(here[value], f"made{k}")
        if made:
            with np.errstate(all="ignore"):
                run = ReferenceEvaluator(ir.to_proto(b.build("magnitudes")), new_ops=NEW_OPS)
                results = run.run(None, feeds)
            self._values.update(zip(made, map(np.asarray, results), strict=True))
