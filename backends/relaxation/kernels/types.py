"""The arrays that the kernels read and write, and the phases of neurons."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Phases = NDArray[np.int8]

UNSPLIT, ACTIVE, INACTIVE = 0, 1, -1
# Where tightened bounds stop before 0: the lines of such a neuron are exact.
TINY = 1e-30


class CondensedRows(NamedTuple):
    """The condensed network, its neurons from the input's side to the output's.

    Attributes
    ----------
    inputs
        Size of the input; the basis v is the input followed by the outputs of the neurons.
    indptr, indices, values
        The pre-activation of neuron j is its row ``values[a:b] . v[indices[a:b]] + offset[j]`` with
        a, b = ``indptr[j:j + 2]``.
    row_runs, runs
        Runs of neighbouring columns in every row (see
        :class:`graphprune.backends.relaxation.runs.RowRuns`).
    error
        The largest error of evaluating a row anywhere on the region.
    lower, upper
        Certified bounds of the pre-activations.
    layer
        The layer of every neuron.
    starts
        The first neuron of every layer, then the number of neurons.
    """

    inputs: int
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: Floats
    row_runs: NDArray[np.int64]
    runs: NDArray[np.int64]
    offset: Floats
    error: Floats
    lower: Floats
    upper: Floats
    layer: NDArray[np.int32]
    starts: NDArray[np.int64]


class CuttingPlanes(NamedTuple):
    """One more upper plane per neuron, on the support of its row; `has` 0: none."""

    has: NDArray[np.uint8]
    values: Floats
    offset: Floats
    error: Floats


class NormBall(NamedTuple):
    """The ball of a p-norm around a box's centre: its radius, and p as the norm's number."""

    radius: float
    order: int


class RegionBox(NamedTuple):
    """The box of inputs, and the centre its radius is measured from.

    Attributes
    ----------
    ball
        The region is the part of the box in this ball; None: all of it. The kernels are compiled
        for one or the other.
    """

    lower: Floats
    upper: Floats
    center: Floats
    error: Floats
    ball: NormBall | None = None


class NetworkRelaxation(NamedTuple):
    """The network on a region, every neuron between linear bounds."""

    rows: CondensedRows
    planes: CuttingPlanes
    box: RegionBox


class InputRows(NamedTuple):
    """Linear bounds of neurons over the inputs: ``values . x + offset`` <= z, then <= -z, of each.

    Attributes
    ----------
    neurons
        (k,) ascending.
    values
        (2k, inputs).
    offset
        (2k,) with everything that they can be wrong by taken off.
    error
        (2k,) the largest error of evaluating a row anywhere in the region's box.
    first, last
        (2k,) range of inputs outside which a row is 0.
    """

    neurons: NDArray[np.int64]
    values: Floats
    offset: Floats
    error: Floats
    first: NDArray[np.int64]
    last: NDArray[np.int64]


class LinearRow(NamedTuple):
    """row . v + offset over the basis v, known up to `error`."""

    row: Floats
    offset: float
    error: float


class Specification(NamedTuple):
    """A linear row that is bounded from below.

    Attributes
    ----------
    goal
        The row.
    assumed
        A row of which only points with a value <= 0 are of interest (the margin, at an adversarial
        point): any multiple >= 0 of it may be added to the goal.
    """

    goal: LinearRow
    assumed: LinearRow


class Parameters(NamedTuple):
    """The free parameters of a relaxation: each choice in range gives a valid bound.

    Attributes
    ----------
    phases
        UNSPLIT, ACTIVE or INACTIVE.
    slopes
        An unsplit neuron's slope of its lower line, in [0, 1] (alpha); a split one's multiplier of
        its constraint, >= 0 (beta).
    cut_weights
        The cutting plane's share in an unsplit neuron's upper bound, in [0, 1].
    """

    phases: Phases
    slopes: Floats
    cut_weights: Floats


class AscentSettings(NamedTuple):
    """At most so many `steps` of a size, until the bound is above `stop`."""

    steps: int
    rate: float
    stop: float


class Workspace(NamedTuple):
    """Results of a backward pass and of the evaluation after it.

    Attributes
    ----------
    coefficients
        Multiples of the basis; a neuron's before it was replaced by its lines.
    point
        Inputs with the least value of the linear bound, and the chosen line of every neuron there.
    row_multipliers, plane_multipliers
        The multiples of its row and of its plane that replaced a neuron.
    pre_activations, plane_values
        Values at the point.
    """

    coefficients: Floats
    point: Floats
    row_multipliers: Floats
    plane_multipliers: Floats
    pre_activations: Floats
    plane_values: Floats


class OptimisedBound(NamedTuple):
    """The end of an ascent.

    Attributes
    ----------
    value
        Proven over the region.
    multiplier
        The best multiplier of the specification's assumed row.
    constant
        Constant of the linear bound over the inputs, whose coefficients are in the workspace.
    radius
        Nothing of the region with a goal <= 0 is closer to the centre.
    """

    value: float
    multiplier: float
    constant: float
    radius: float


class Split(NamedTuple):
    """A neuron to be split (-1: none), and estimates of its children's bounds."""

    neuron: int
    active: float
    inactive: float


class ChildBounds(NamedTuple):
    """The bounds of a split's children, estimated unless they are closed: proven above `stop`.

    Attributes
    ----------
    value
        The goal itself, at the inputs where the node's bound is least.
    """

    active: float
    active_closed: bool
    inactive: float
    inactive_closed: bool
    value: float


def workspace_for(rows: CondensedRows) -> Workspace:
    """Return memory for one pass over these rows."""
    m = len(rows.offset)
    size = rows.inputs + m
    return Workspace(
        np.empty(size), np.empty(size), np.empty(m), np.empty(m), np.empty(m), np.empty(m)
    )  # fmt: skip
