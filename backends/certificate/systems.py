"""A system of the checker as a relaxation of the compiled kernels, and back as multipliers.

The kernels' bound at given parameters is the checker's inequality (:mod:`graphprune.check.bound`)
at the multipliers that replace every neuron. Nothing that they compute needs to be exact here: a
certificate holds the multipliers, and the checker's own evaluation of them has the last word.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.certificate.kernels import rounded_multipliers
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import first_parameters, no_planes, norm_ball
from graphprune.backends.relaxation.kernels import (
    CondensedRows,
    CuttingPlanes,
    LinearRow,
    NetworkRelaxation,
    Parameters,
    RegionBox,
    Specification,
)
from graphprune.backends.relaxation.runs import as_runs
from graphprune.backends.relaxation.subproblem import fix_stable
from graphprune.check.bound import System, UpperPlanes
from graphprune.check.forms import AffineForm, csr
from graphprune.region import norm_of

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

# The share of planes in upper bounds to start from.
CUT_WEIGHT = 0.9


class SystemRelaxation:
    """A system with the arrays that the kernels read.

    Attributes
    ----------
    relaxation
        Rows of neurons whose bounds have one sign end at 0: they are split by their sign.
    start
        Parameters to start from: CROWN's adaptive slopes (Zhang et al. 2018).

    Parameters
    ----------
    assumption
        A form (one row) that is known to be <= 0.
    """

    def __init__(self, system: System, assumption: AffineForm | None = None) -> None:
        self.system = system
        basis = len(system.low)
        nothing = LinearRow(np.zeros(basis), 0.0, 0.0)
        self.assumption = assumption
        self.assumed = nothing if assumption is None else _linear_rows(assumption, basis)[0]
        rows, planes = _rows_and_planes(system)
        n = system.inputs
        low, high = np.ascontiguousarray(system.low[:n]), np.ascontiguousarray(system.high[:n])
        box = RegionBox(low, high, low, np.zeros(n))
        points = system.points
        if not points.norm.boxed:
            center = np.ascontiguousarray(points.center)
            ball = norm_ball(norm_of(points.norm.name), points.radius)
            box = box._replace(center=center, ball=ball)
        self.relaxation = NetworkRelaxation(rows, planes, box)
        self.start = first_parameters(rows)
        fix_stable(rows, self.start)
        self.start.cut_weights[:] = np.where(planes.has, CUT_WEIGHT, 0.0)
        self.workspace = kernels.workspace_for(rows)

    def specifications(self, goals: AffineForm) -> list[Specification]:
        """Return rows over the system's basis as the kernels read them."""
        rows = _linear_rows(goals, len(self.system.low))
        return [Specification(row, self.assumed) for row in rows]

    def multipliers(
        self,
        goals: AffineForm,
        parameters: Sequence[Parameters],
        assumed: Singles | None = None,
    ) -> tuple[Singles, Singles | None]:
        """Return the multipliers (R, width) of a bound's rows, and (R, planes) of its planes.

        Parameters
        ----------
        parameters
            One for each of the R goals.
        assumed
            (R,) multipliers of the assumption.
        """
        system, count = self.system, len(parameters)
        multipliers = np.empty((count, system.width), np.float32)
        plane_multipliers = np.empty((count, system.width), np.float32)
        coefficients = goals.widen(len(system.low)).rows.toarray()
        if assumed is not None:
            coefficients += assumed.astype(np.float64)[:, None] * self.assumed.row
        for i, own in enumerate(parameters):
            rounded_multipliers(
                self.relaxation, coefficients[i], own, multipliers[i], plane_multipliers[i]
            )
        planes = system.planes
        chosen = None if planes is None else np.ascontiguousarray(
            plane_multipliers[:, planes.neurons]
        )  # fmt: skip
        return multipliers, chosen


def _linear_rows(form: AffineForm, basis: int) -> list[LinearRow]:
    rows = np.ascontiguousarray(form.widen(basis).rows.toarray())
    parts = zip(rows, form.offset.tolist(), form.error.tolist(), strict=True)
    return [LinearRow(*part) for part in parts]


def _rows_and_planes(system: System) -> tuple[CondensedRows, CuttingPlanes]:
    """Return the rows, with room for the planes' entries, and the planes."""
    n, m = system.inputs, system.width
    own = csr(system.form.rows.copy())
    own.eliminate_zeros()
    own.sort_indices()
    lower, upper = system.lower.copy(), system.upper.copy()
    active, inactive = lower >= 0.0, upper <= 0.0
    lower[active] = -kernels.TINY
    upper[active] = np.maximum(upper[active], kernels.TINY)
    upper[inactive] = kernels.TINY
    lower[inactive] = np.minimum(lower[inactive], -kernels.TINY)

    def rows(pattern: sparse.csr_array) -> CondensedRows:
        return CondensedRows(
            n, *as_runs(pattern), system.form.offset, system.form.error, lower, upper,
            *_layers(pattern, n),
        )  # fmt: skip

    if system.planes is None:
        bare = rows(own)
        return bare, no_planes(bare)
    given = _by_neuron(system.planes, m)
    # Entries of the sum tell whose they are: 1 the row's, 2 the plane's, 3 both.
    places = [
        csr(sparse.csr_array((np.full(x.nnz, mark), x.indices, x.indptr), shape=own.shape))
        for x, mark in ((own, 1), (given, 2))
    ]
    both = csr(places[0] + places[1])
    both.sort_indices()
    marked = rows(both)
    marks = marked.values.astype(np.int64)
    values, plane_values = np.zeros(len(marks)), np.zeros(len(marks))
    values[marks & 1 > 0], plane_values[marks & 2 > 0] = own.data, given.data
    has, offset = np.zeros(m, np.uint8), np.zeros(m)
    # Planes bound a neuron that is not stable; those of others are left out.
    has[system.planes.neurons] = ~(active | inactive)[system.planes.neurons]
    offset[system.planes.neurons] = system.planes.form.offset
    return marked._replace(values=values), CuttingPlanes(has, plane_values, offset, np.zeros(m))


def _by_neuron(planes: UpperPlanes, width: int) -> sparse.csr_array:
    """Return the planes' rows, one per variable neuron; empty where it has none."""
    count = len(planes.neurons)
    places = (np.ones(count), (planes.neurons, np.arange(count)))
    given = csr(sparse.coo_array(places, shape=(width, count)) @ planes.form.rows)
    given.eliminate_zeros()
    given.sort_indices()
    return given


def _layers(rows: sparse.csr_array, inputs: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return layers of neurons that do not read one another: of every neuron, and the starts."""
    ends = np.full(rows.shape[0], -1)
    filled = np.diff(rows.indptr) > 0
    ends[filled] = rows.indices[rows.indptr[1:][filled] - 1] - inputs
    starts = [0]
    for j, deepest in enumerate(ends.tolist()):
        if deepest >= starts[-1]:
            starts.append(j)
    starts.append(len(ends))
    bounds = np.array(starts if len(ends) else [0], np.int64)
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)).astype(np.int32), bounds
