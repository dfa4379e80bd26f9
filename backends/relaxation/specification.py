"""One excluded class on one ball: its condensed network, goal, and the root of its tree."""

from copy import copy
from dataclasses import InitVar, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import (
    layer_starts,
    margin_goal,
    no_planes,
    region_of,
    rows_of,
)
from graphprune.backends.relaxation.condensed import Condensed, condense
from graphprune.backends.relaxation.kernels import Goal, Planes, Region, Rows
from graphprune.backends.trace import TargetTrace, Trace
from graphprune.ir import Network
from graphprune.region import Ball

Floats = NDArray[np.float64]
Bounds = list[tuple[Floats, Floats]]

# Optimiser steps at a root and at a node, and their size.
ROOT_STEPS, NODE_STEPS = 30, 8
RATE = 0.3
# Neurons per node whose two children are bounded.
CANDIDATES = 64


@dataclass(eq=False)
class Target:
    """The margin to one class over a ball.

    Attributes
    ----------
    row
        (classes,) e_y - e_t.
    bounds
        Pre-activation bounds that hold on the ball; those of `rows` may be tighter, and hold
        for its points with this margin <= 0 only.
    state, theta, mix
        The root's splits and parameters.
    bound, radius
        The root's bound on the ball, and the radius it proves.
    given
        The network condensed with `bounds`, where that is known already.
    """

    network: Network
    row: Floats
    ball: Ball
    bounds: Bounds
    given: InitVar[Condensed | None] = None
    condensed: Condensed = field(init=False)
    rows: Rows = field(init=False)
    starts: NDArray[np.int64] = field(init=False)
    planes: Planes = field(init=False)
    region: Region = field(init=False)
    goal: Goal = field(init=False)
    state: NDArray[np.int8] = field(init=False)
    theta: Floats = field(init=False)
    mix: Floats = field(init=False)
    bound: float = -np.inf
    radius: float = 0.0
    point: Floats = field(init=False)

    def __getstate__(self) -> dict[str, Any]:
        """Of a copy for a case, or for another process: without how the target came about."""
        return {k: v for k, v in vars(self).items() if k not in ("network", "bounds", "condensed")}

    def adopt(self, other: "Target") -> None:
        """Take over what another process made of this target."""
        vars(self).update(vars(other))

    def __post_init__(self, given: Condensed | None) -> None:
        self.rebuild(given)

    def rebuild(self, condensed: Condensed | None = None) -> None:
        """Condense anew with the present bounds; planes are dropped."""
        self.condensed = condensed or condense(self.network, self.bounds, self.ball)
        self.rows = rows_of(self.condensed)
        self.starts = layer_starts(self.condensed)
        self.planes = no_planes(self.rows)
        if not hasattr(self, "region"):
            self.region = region_of(self.ball)
        self.goal = margin_goal(self.condensed, self.row)
        self.state = np.zeros(len(self.rows.offset), np.int8)
        self.theta = (self.rows.upper > -self.rows.lower).astype(np.float64)
        self.mix = np.zeros(len(self.theta))
        self.point = self.ball.center.reshape(-1).copy()

    @property
    def inputs(self) -> int:
        return self.rows.inputs

    @property
    def neurons(self) -> int:
        return len(self.rows.offset)

    @property
    def basis(self) -> int:
        return self.inputs + self.neurons

    def optimise(self, steps: int = ROOT_STEPS, stop: float = 0.0) -> float:
        """Bound the root; keeps its parameters and minimiser."""
        if np.any(self.rows.lower > self.rows.upper):
            self.bound = np.inf
            return self.bound
        m, size = self.neurons, self.basis
        a, v = np.empty(size), np.empty(size)
        self.bound, _, _, self.radius = kernels.optimise(
            self.rows, self.planes, self.region, self.goal, 0.0, False,
            self.state, self.theta, self.mix, steps, RATE, stop,
            a, v, np.empty(m), np.empty(m), np.empty(m),
        )  # fmt: skip
        if not self.radius >= 0.0:
            self.radius = 0.0  # NaN proves nothing
        self.point = v[: self.inputs].copy()
        return self.bound

    @property
    def bytes(self) -> int:
        """Memory of what is a case's own: bounds and box."""
        return 2000 + 16 * self.basis

    @property
    def width(self) -> float:
        """Sum of the widths of all bounds: what tightening reduces."""
        return float(np.sum(self.rows.upper - self.rows.lower))

    def case(self) -> "Target":
        """A copy whose bounds and box can be tightened for one case of the tree."""
        other = copy(self)
        other.rows = self.rows._replace(lower=self.rows.lower.copy(), upper=self.rows.upper.copy())
        other.region = self.region._replace(
            lower=self.region.lower.copy(), upper=self.region.upper.copy()
        )
        return other

    def shrink(self, ball: Ball) -> None:
        """Go over to a smaller ball; everything that held on the larger one holds."""
        if ball.radius < self.ball.radius:
            box = region_of(ball)
            self.ball = ball
            self.region = self.region._replace(
                lower=np.maximum(self.region.lower, box.lower),
                upper=np.minimum(self.region.upper, box.upper),
            )

    def stabilise(self, state: NDArray[np.int8], theta: Floats) -> None:
        """Mark neurons that the bounds have fixed as split, in place."""
        active = (state == 0) & (self.rows.lower >= -kernels.TINY)
        inactive = (state == 0) & (self.rows.upper <= kernels.TINY)
        state[active], state[inactive] = kernels.ACTIVE, kernels.INACTIVE
        theta[active | inactive] = 0.0

    def cut_box(self, state: NDArray[np.int8], theta: Floats, mix: Floats) -> None:
        """Shrink the box by the margin's linear bound with these parameters."""
        m, size = self.neurons, self.basis
        a, v = np.empty(size), np.empty(size)
        _, constant = kernels.bound_once(
            self.rows, self.planes, self.region, self.goal, 0.0, state, theta, mix,
            a, v, np.empty(m), np.empty(m),
        )  # fmt: skip
        kernels.cut_box(a, constant, self.region, self.region.lower, self.region.upper)

    @property
    def excluded(self) -> int:
        """The class whose margin this is."""
        return int(np.argmin(self.row))

    def begin(self, trace: Trace) -> None:
        """Tell a trace of this root."""
        sizes = [len(low) for low, _ in self.bounds]
        starts = np.cumsum([0, *sizes])
        own = [s + x.neurons for s, x in zip(starts, self.condensed.layers, strict=False)]
        neurons = np.concatenate([np.zeros(0, np.intp), *own])
        planes = None
        if np.any(self.planes.has):
            has = np.repeat(self.planes.has, np.diff(self.rows.indptr)).astype(bool)
            values = np.where(has, self.planes.values, 0.0)
            shape = (self.neurons, self.basis)
            planes = sparse.csr_array(
                (values, self.rows.indices.copy(), self.rows.indptr.copy()), shape=shape
            )
            planes.eliminate_zeros()
        trace.begin(self.excluded, TargetTrace(neurons, self.state.copy(), planes))

    def write_back(self) -> None:
        """Take the rows' bounds over into `bounds`, and condense with them."""
        start = 0
        bounds = [(low.copy(), high.copy()) for low, high in self.bounds]
        for (low, high), layer in zip(bounds, self.condensed.layers, strict=True):
            part = slice(start, start + len(layer.neurons))
            low[layer.neurons] = np.maximum(low[layer.neurons], self.rows.lower[part])
            high[layer.neurons] = np.minimum(high[layer.neurons], self.rows.upper[part])
            # The kernels stop a bound just before 0: the neuron is stable.
            low[np.abs(low) <= kernels.TINY] = 0.0
            high[np.abs(high) <= kernels.TINY] = 0.0
            start += len(layer.neurons)
        self.bounds = bounds
        self.rebuild()
