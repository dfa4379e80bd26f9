"""Bounds by ONNX graphs in float32: any network, on CUDA too.

Inputs that every run reads, and all that alpha-CROWN carries from step to step, stay in the memory
of the device that the graphs run on.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune import transforms
from graphprune.bounds import underflow
from graphprune.bounds.problem import BoundsProblem, Floats, LayerBounds, Singles, finite, round_up
from graphprune.bounds.protocol import Ascent, EngineName
from graphprune.ir.network import Network, sample_shape, size
from graphprune.region import Norm
from graphprune.runtime.reference import segment_offset
from graphprune.runtime.resources import Resources, current
from graphprune.runtime.session import Executable, Resident, compiled
from graphprune.transforms.optimisation import CHANGES, NEXT, STATE
from graphprune.transforms.relaxation import LINES, ancestors

Feeds = dict[str, "NDArray[np.generic] | Resident"]


class GraphEngine:
    """Runs the transforms of one problem; rows of all boxes go down together."""

    name: ClassVar[EngineName] = "graph"

    def __init__(self, problem: BoundsProblem, resources: Resources, ascent: Ascent) -> None:
        self.problem = problem
        # Bytes that the tensors of one run may take.
        self.memory = resources.memory // 4
        self.ascent = ascent
        # Inputs that every chunk of rows reads stay on the device.
        self._held: dict[str, Resident] = {}

    @staticmethod
    def suits(problem: BoundsProblem, resources: Resources) -> bool:
        return True

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
        network = problem.network
        run = compiled(network, ("interval", index), lambda: transforms.interval(network, index))
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
        fed = self._fed(index)
        for start in range(0, len(neurons), step):
            if current().over:
                break  # what is left is as wide as the interval image
            part = neurons[start : start + step]
            rows = np.zeros((batch, 2 * len(part), width), np.float32)
            k = np.arange(len(part))
            rows[:, k, part] = 1.0
            rows[:, len(part) + k, part] = -1.0
            bound = self._bounds(index, fed, rows)
            lower[:, part] = bound[:, : len(part)]
            upper[:, part] = -bound[:, len(part) :]
        return lower, upper

    def rows(self, index: int, rows: Floats) -> Floats:
        """Lower bounds (B, R) of rows (R, n) times the target of a segment."""
        batch = self.problem.batch
        mixed = self.problem.method == "alpha-crown"
        step = max(1, self._rows_at_once() // (3 if mixed else 1))
        fed = self._fed(index, mixed=mixed)
        with np.errstate(over="ignore"):  # infinite bounds are refused
            singles = rows.astype(np.float32)
        parts = []
        for start in range(0, len(rows), step):
            if start and current().over:
                parts.append(np.full((batch, len(rows) - start), -np.inf))
                break
            part = singles[start : start + step]
            stacked = np.ascontiguousarray(np.broadcast_to(part, (batch, *part.shape)))
            bound = self._bounds(index, fed, stacked)
            if mixed and not np.all(bound > self.ascent.enough):
                bound = np.maximum(bound, self._optimised(index, fed, stacked))
            parts.append(bound)
        return np.concatenate(parts, axis=1)

    def _rows_at_once(self) -> int:
        """Rows per box whose intermediate tensors (about a dozen at a time) fit into memory."""
        values: list[ir.Value] = [n.outputs[0] for n in self.problem.network.nodes]
        widest = max(size(v) for v in [self.problem.network.input, *values])
        return max(2, self.memory // (self.problem.batch * widest * 4 * 12))

    def _bounds(self, target: int, fed: "_Fed", rows: Singles) -> Floats:
        """Lower bounds (B, R) of rows (B, R, n) times the target of a segment."""
        run = self._compiled("relaxation", transforms.relaxation, target)
        bound = run({**fed.feeds, "rows": rows})[0]
        finite(bound)
        return bound.astype(np.float64) - fed.lost

    def _optimised(self, target: int, fed: "_Fed", rows: Singles) -> Floats:
        """The same by alpha-CROWN; -inf where every step overflows."""
        network = self.problem.network
        run = self._compiled("optimisation", transforms.optimisation, target)
        count = rows.shape[:2]
        start = {"best": np.full(count, -np.inf, np.float32), "step": np.zeros(1, np.float32)}
        for i in ancestors(network, target):
            width = size(network.activations[i].outputs[0])
            start |= {f"{name}{i}": np.zeros((*count, width), np.float32) for name in STATE}
        state = {name: Resident.of(array) for name, array in start.items()}
        fixed = {**fed.feeds, "rows": Resident.of(rows)}
        names = [name.removesuffix(NEXT) for name in run.outputs]
        for _ in range(self.ascent.steps):
            if current().over:
                break
            state = dict(zip(names, run.resident({**fixed, **state}), strict=True))
        return state["best"].numpy().astype(np.float64) - fed.lost

    def _compiled(
        self, name: str, make: Callable[[Network, int, Norm], ir.Model], target: int
    ) -> Executable:
        network, norm = self.problem.network, self.problem.boxes.norm
        return compiled(network, (name, target, norm), lambda: make(network, target, norm))

    def _fed(self, target: int, *, mixed: bool = False) -> "_Fed":
        """The inputs of a segment's relaxation beside rows; with `mixed`, both lines."""
        problem = self.problem
        boxes = problem.boxes
        self._hold("box_lower", lambda: boxes.lower)
        self._hold("box_upper", lambda: boxes.upper)
        if boxes.center is not None and boxes.radius is not None:
            center, radius = boxes.center.astype(np.float32), round_up(boxes.radius)
            self._hold("center", lambda: center)
            self._hold("radius", lambda: radius)
        for index in ancestors(problem.network, target):
            self._hold_layer(index)
            if mixed:
                self._hold_changes(index)
        known = self.interval(target).magnitude
        feeds: Feeds = {
            **self._held,
            f"magnitude{target}": Resident.of(underflow.magnitude(problem, target, known)),
            f"offset{target}": Resident.of(self._offset(target)),
        }
        return _Fed(feeds, underflow.lost(problem, target, known, mixed=mixed))

    def _hold_layer(self, index: int) -> None:
        if f"magnitude{index}" in self._held:
            return
        for name, line in zip(LINES, self.problem.lines(index), strict=True):
            self._hold(f"{name}{index}", partial(line.astype, np.float32))
        known = self.problem.layers[index].magnitude
        raised = underflow.magnitude(self.problem, index, known)
        self._hold(f"magnitude{index}", lambda: raised)
        self._hold(f"offset{index}", lambda: self._offset(index))

    def _hold_changes(self, index: int) -> None:
        if f"{CHANGES[0]}{index}" in self._held:
            return
        lines, others = (self.problem.lines(index, alternative=other) for other in (False, True))
        for name, line, other in zip(CHANGES, lines, others, strict=True):
            self._hold(f"{name}{index}", partial((other - line).astype, np.float32))

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


@dataclass(frozen=True, eq=False)
class _Fed:
    """`feeds` of a relaxation, and what underflow may move its bounds by, `lost` (B, 1)."""

    feeds: Feeds
    lost: Floats
