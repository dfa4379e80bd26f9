"""Bounds by ONNX graphs in float32: any network, on CUDA too."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.backends.onnxruntime import Resident, compiled
from graphprune.backends.reference import segment_offset
from graphprune.ir.network import sample_shape, size
from graphprune.passes.analysis.problem import Floats, LayerBounds, Problem, Singles, finite
from graphprune.transforms.relaxation import LINES, ancestors


class GraphEngine:
    """Runs the transforms of one problem; rows of all boxes go down together."""

    def __init__(self, problem: Problem, memory: int) -> None:
        self.problem = problem
        self.memory = memory
        # What every chunk of rows reads stays on the device.
        self._held: dict[str, Resident] = {}

    def interval(self, index: int) -> LayerBounds:
        """Interval image of a segment."""
        problem = self.problem
        segment = problem.network.segments[index]
        feeds = {}
        for i, source in enumerate(segment.sources):
            lower, upper = problem.source(source)
            shape = (len(lower), *sample_shape(source))
            feeds[f"lower{i}"] = lower.reshape(shape)
            feeds[f"upper{i}"] = upper.reshape(shape)
        run = compiled(problem.network, ("interval", index), lambda: transforms.interval(segment))
        outputs = [o.reshape(-1, size(segment.target)) for o in run(feeds)]
        if not segment.sources:  # a constant: one row speaks for the whole batch
            outputs = [np.repeat(o, problem.batch, 0) for o in outputs]
        lower, upper, magnitude = outputs
        finite(lower, upper, magnitude)
        return LayerBounds(lower, upper, magnitude)

    def neurons(
        self, index: int, chosen: NDArray[np.bool_], *, until_stable: bool
    ) -> tuple[Floats, Floats]:
        """Relaxation bounds (B, n) of the chosen (B, n) neurons, infinite for the others."""
        batch, width = chosen.shape
        lower, upper = np.full((batch, width), -np.inf), np.full((batch, width), np.inf)
        neurons = np.flatnonzero(chosen.any(axis=0))
        step = self._rows_at_once() // 2 or 1
        magnitude = self.interval(index).magnitude
        for start in range(0, len(neurons), step):
            part = neurons[start : start + step]
            rows = np.zeros((batch, 2 * len(part), width), np.float32)
            k = np.arange(len(part))
            rows[:, k, part] = 1.0
            rows[:, len(part) + k, part] = -1.0
            bound = self._rows(index, rows, magnitude)
            lower[:, part] = bound[:, : len(part)]
            upper[:, part] = -bound[:, len(part) :]
        return lower, upper

    def rows(self, index: int, rows: Floats) -> Floats:
        """Lower bounds (B, R) of rows (R, n) times the target of a segment."""
        batch = self.problem.batch
        magnitude = self.interval(index).magnitude
        step = self._rows_at_once()
        parts = []
        for start in range(0, len(rows), step):
            part = rows[start : start + step].astype(np.float32)
            stacked = np.ascontiguousarray(np.broadcast_to(part, (batch, *part.shape)))
            parts.append(self._rows(index, stacked, magnitude))
        return np.concatenate(parts, axis=1)

    def _rows_at_once(self) -> int:
        """Rows per box whose intermediate tensors (about a dozen at a time) fit into memory."""
        values: list[ir.Value] = [n.outputs[0] for n in self.problem.network.nodes]
        widest = max(size(v) for v in [self.problem.network.input, *values])
        return max(2, self.memory // (self.problem.batch * widest * 4 * 12))

    def _rows(self, target: int, rows: Singles, magnitude: Singles) -> Floats:
        """Lower bounds (B, R) of rows (B, R, n) times the target of a segment."""
        problem, network = self.problem, self.problem.network
        run = compiled(
            network, ("relaxation", target), lambda: transforms.relaxation(network, target)
        )
        self._hold("box_lower", lambda: problem.boxes.lower)
        self._hold("box_upper", lambda: problem.boxes.upper)
        for index in ancestors(network, target):
            self._hold_layer(index)
        feeds: dict[str, NDArray[np.generic] | Resident] = {
            **self._held,
            "rows": rows,
            f"magnitude{target}": magnitude,
            f"offset{target}": self._offset(target),
        }
        bound = run(feeds)[0].astype(np.float64)
        finite(bound)
        return bound

    def _hold_layer(self, index: int) -> None:
        if f"magnitude{index}" in self._held:
            return
        for name, line in zip(LINES, self.problem.lines(index), strict=True):
            self._held[f"{name}{index}"] = Resident.of(line.astype(np.float32))
        self._hold(f"magnitude{index}", lambda: self.problem.layers[index].magnitude)
        self._hold(f"offset{index}", lambda: self._offset(index))

    def _hold(self, name: str, make: Callable[[], Singles]) -> None:
        if name not in self._held:
            self._held[name] = Resident.of(make())

    def _offset(self, index: int) -> Singles:
        network = self.problem.network
        segment = network.segments[index]
        return network.cached(
            ("offset", index),
            lambda: segment_offset(network, segment).reshape(-1, 1).astype(np.float32),
        )
