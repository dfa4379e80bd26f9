"""A linear specification on a region: what branch and bound proves positive, case by case."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import (
    box_of,
    copied,
    first_parameters,
    intersected,
    no_planes,
    nothing_assumed,
    output_row,
    rows_of,
    with_own_bounds,
)
from graphprune.backends.relaxation.condensed import Condensed, condense
from graphprune.backends.relaxation.kernels import (
    AscentSettings,
    CondensedRows,
    CuttingPlanes,
    InputRows,
    NetworkRelaxation,
    Parameters,
    RegionBox,
    Specification,
)
from graphprune.ir import Network
from graphprune.region import Region

Floats = NDArray[np.float64]
LayerEnds = Sequence[tuple[Floats, Floats]]

# Optimiser steps at a root, and their size.
ROOT_STEPS, RATE = 30, 0.3


@dataclass(frozen=True, eq=False)
class CondensedRegion:
    """A network on a ball: what holds for all specifications alike.

    Attributes
    ----------
    bounds
        Per activation, in graph order: flat pre-activation bounds that hold on the ball.
    condensed
        The network condensed with them.
    """

    network: Network
    ball: Region
    bounds: LayerEnds
    condensed: Condensed

    @classmethod
    def of(
        cls, network: Network, ball: Region, bounds: LayerEnds, deadline: float = inf
    ) -> "CondensedRegion":
        """Condense a network with given bounds.

        Raises
        ------
        UnsupportedError
            The network has activations other than ReLU.
        OutOfTimeError
            The deadline, on the clock of :func:`time.monotonic`, passed.
        """
        return cls(network, ball, bounds, condense(network, bounds, ball, deadline))

    @property
    def neurons(self) -> NDArray[np.intp]:
        """Number of every row's neuron in the network, counted over all activations."""
        starts = np.cumsum([0, *(len(low) for low, _ in self.bounds)])
        own = [s + x.neurons for s, x in zip(starts, self.condensed.layers, strict=False)]
        return np.concatenate([np.zeros(0, np.intp), *own])

    @cached_property
    def _relaxation(self) -> NetworkRelaxation:
        rows = rows_of(self.condensed)
        return NetworkRelaxation(rows, no_planes(rows), box_of(self.ball))

    def relaxation(self) -> NetworkRelaxation:
        """Return the network's relaxation, with bounds and a box of its own."""
        return with_own_bounds(self._relaxation)

    def tightened(self, rows: CondensedRows) -> "CondensedRegion":
        """Return the same with the bounds of rows, which must hold on the whole ball."""
        start = 0
        bounds = [(low.copy(), high.copy()) for low, high in self.bounds]
        for (low, high), layer in zip(bounds, self.condensed.layers, strict=True):
            part = slice(start, start + len(layer.neurons))
            low[layer.neurons] = np.maximum(low[layer.neurons], rows.lower[part])
            high[layer.neurons] = np.minimum(high[layer.neurons], rows.upper[part])
            # The kernels stop a bound just before 0: the neuron is stable.
            low[np.abs(low) <= kernels.TINY] = 0.0
            high[np.abs(high) <= kernels.TINY] = 0.0
            start += len(layer.neurons)
        return CondensedRegion.of(self.network, self.ball, bounds)


@dataclass(frozen=True, eq=False)
class Subproblem:
    """One row of outputs to be proven positive, with bounds that hold where it is not.

    It is plain arrays, and travels to worker processes as it is.

    Attributes
    ----------
    row
        (outputs,) coefficients; of a margin e_y - e_t.
    ball
        Where it is to be positive.
    relaxation
        The network's. Its bounds and its box may hold for points with a row <= 0 only.
    specification
        The row over the relaxation's basis.
    parameters
        The best ones known; neurons that the bounds have fixed are split.
    bound, radius
        Proven with them: of the row on the ball, and that no point with a row <= 0 is nearer.
    input_rows
        Linear bounds of neurons over the inputs, of the root: nodes are clipped with them.
    """

    row: Floats
    ball: Region
    relaxation: NetworkRelaxation
    specification: Specification
    parameters: Parameters
    bound: float = -np.inf
    radius: float = 0.0
    input_rows: InputRows | None = None

    @classmethod
    def of(
        cls,
        region: CondensedRegion,
        row: Floats,
        *,
        limit: float | None = None,
        box: RegionBox | None = None,
    ) -> "Subproblem":
        """Return the subproblem of a row of a region's outputs, less a limit; not bounded yet.

        Parameters
        ----------
        box
            A part of the ball outside which the row is known to be positive.
        """
        relaxation = region.relaxation()
        if box is not None:
            relaxation = relaxation._replace(box=intersected(box, relaxation.box))
        goal = nothing_assumed(output_row(region.condensed, row, limit))
        return cls(row, region.ball, relaxation, goal, first_parameters(relaxation.rows))

    @property
    def label(self) -> int:
        """The class that a margin's row excludes."""
        return int(np.argmin(self.row))

    @property
    def rows(self) -> CondensedRows:
        return self.relaxation.rows

    @property
    def planes(self) -> CuttingPlanes:
        return self.relaxation.planes

    @property
    def box(self) -> RegionBox:
        return self.relaxation.box

    @property
    def has_planes(self) -> bool:
        return bool(np.any(self.planes.has))

    @property
    def inputs(self) -> int:
        return self.rows.inputs

    @property
    def neurons(self) -> int:
        return len(self.rows.offset)

    @property
    def basis(self) -> int:
        return self.inputs + self.neurons

    @property
    def width(self) -> float:
        """Sum of the widths of all bounds: what tightening reduces."""
        return float(np.sum(self.rows.upper - self.rows.lower))

    @property
    def bytes(self) -> int:
        """Memory of what a case has of its own: bounds and box."""
        return 2000 + 16 * self.basis

    def optimised(self, steps: int = ROOT_STEPS, stop: float = 0.0) -> "Subproblem":
        """Return the same with the best parameters of some steps, or with a bound above `stop`."""
        if np.any(self.rows.lower > self.rows.upper):
            return replace(self, bound=np.inf)
        parameters = copied(self.parameters)
        workspace = kernels.workspace_for(self.rows)
        found = kernels.optimise(
            self.relaxation, self.specification, 0.0, parameters, AscentSettings(steps, RATE, stop),
            workspace,
        )  # fmt: skip
        radius = found.radius if found.radius >= 0.0 else 0.0  # NaN proves nothing
        return replace(self, parameters=parameters, bound=found.value, radius=radius)

    def shrunk(self, ball: Region, box: RegionBox) -> "Subproblem":
        """Return the same on a smaller ball with its box, where it is smaller.

        Everything that held on the larger one holds.
        """
        if ball.radius >= self.ball.radius:
            return self
        relaxation = self.relaxation._replace(box=intersected(self.box, box))
        return replace(self, ball=ball, relaxation=relaxation)


def fix_stable(rows: CondensedRows, parameters: Parameters) -> None:
    """Split the neurons that the bounds have fixed, in place."""
    phases, slopes, _ = parameters
    active = (phases == 0) & (rows.lower >= -kernels.TINY)
    inactive = (phases == 0) & (rows.upper <= kernels.TINY)
    phases[active], phases[inactive] = kernels.ACTIVE, kernels.INACTIVE
    slopes[active | inactive] = 0.0
