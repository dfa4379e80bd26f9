"""Ideal single-neuron cuts at a root, folded by the duals into one upper plane per neuron.

For h = relu(w . v + o) over a box, with the phase indicator p in [0, 1] and any subset I of the
neuron's inputs (Anderson et al. 2020, "Strong mixed-integer programming formulations for trained
neural networks"),

    h <= sum_I w_i (v_i - L_i (1 - p)) + (o + sum_not_I w_i U_i) p,

where w_i L_i and w_i U_i are the least and the largest value of w_i v_i. The most violated subset
is found term by term. A few rounds in HiGHS, without the cuts that a round left slack: the rows
that matter stay few, and so does the time. Then the duals combine a neuron's rows so that p falls
out, which leaves one plane h <= a . v + q that every node of the tree uses without a linear
program of its own. The plane is valid for any nonnegative multipliers: nothing rests on HiGHS.
"""

from dataclasses import dataclass, replace

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.relaxation.kernels import CondensedRows, CuttingPlanes
from graphprune.backends.relaxation.linear_program import matrix_of
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.runtime.highs import INFINITY, Optimum, Solver
from graphprune.runtime.resources import Resources

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class CutSettings:
    """Constants of cuts.

    Attributes
    ----------
    first_weight
        The planes' share in the upper bounds at first, which the ascent then changes.
    violation, least
        A cut must be violated by this share of the neuron's upper bound, or of `least` where that
        is larger: each costs a row of the program.
    """

    first_weight: float = 0.9
    violation: float = 1e-3
    least: float = 0.01


SETTINGS = CutSettings()
# The planes' rounding, as a multiple of the rows' (sums over the box besides the row itself).
ERROR = 16.0


@dataclass(frozen=True, eq=False)
class _Ends:
    """Per stored entry of the rows: the least and largest value of w_i v_i."""

    owner: Indices
    least: Floats
    largest: Floats


class Cuts:
    """The linear program of a root with phase indicators, and its rounds of cuts."""

    def __init__(self, root: Subproblem) -> None:
        self.root = root
        self.rows: CondensedRows = root.rows
        # Split neurons have no triangle: they keep their rows, without cuts.
        self.free = root.parameters.phases == 0
        m, n = root.neurons, self.rows.inputs
        self.m, self.n = m, n
        self.ends = self._ends()
        self.matrix = matrix_of(self.rows)
        # Rounds: neurons with a cut, and of every neuron its subset, coefficient and floor.
        self.cuts: list[tuple[Indices, NDArray[np.bool_], Floats, Floats]] = []
        self.highs = Solver(presolve="off")
        self._build()

    def _ends(self) -> _Ends:
        rows, box = self.rows, self.root.box
        low = np.concatenate([box.lower, np.zeros(self.m)])[rows.indices]
        high = np.concatenate([box.upper, np.maximum(rows.upper, 0.0)])[rows.indices]
        ends = np.stack([rows.values * low, rows.values * high])
        owner = np.repeat(np.arange(self.m), np.diff(rows.indptr))
        return _Ends(owner, ends.min(axis=0), ends.max(axis=0))

    def _build(self) -> None:
        rows, n, m = self.rows, self.n, self.m
        phases, box = self.root.parameters.phases, self.root.box
        width = n + 2 * m
        high = np.where(phases == -1, 0.0, np.maximum(rows.upper, 0.0))
        phase_low = (phases == 1).astype(np.float64)
        phase_high = (phases != -1).astype(np.float64)
        self.highs.addVars(
            width,
            np.concatenate([box.lower, np.zeros(m), phase_low]),
            np.concatenate([box.upper, high, phase_high]),
        )
        cost = np.concatenate([self.root.specification.goal.row, np.zeros(m)])
        self.highs.changeColsCost(width, np.arange(width, dtype=np.int32), cost)
        z = sparse.csr_array(sparse.hstack([self.matrix, sparse.csr_array((m, m))], format="csr"))
        h = sparse.eye_array(m, width, k=n, format="csr")
        phase = sparse.eye_array(m, width, k=n + m, format="csr")
        top = sparse.diags_array(np.maximum(rows.upper, 0.0)) @ phase
        bottom = sparse.diags_array(np.minimum(rows.lower, 0.0)) @ phase
        below = np.full(m, -INFINITY)
        self.highs.add_matrix(sparse.csr_array(h - z), rows.offset, np.full(m, INFINITY))
        self.highs.add_matrix(sparse.csr_array(h - top), below, np.zeros(m))
        ceiling = rows.offset - np.minimum(rows.lower, 0.0)
        self.highs.add_matrix(sparse.csr_array(h - z - bottom), below, ceiling)

    def solve(self, resources: Resources) -> Optimum | None:
        """Solve; None where HiGHS is stopped or gives up."""
        self.highs.run_for(resources.remaining())
        return self.highs.optimum()

    def separate(self, found: Optimum) -> int:
        """Add the cut that the optimum violates most, of every neuron that has one; their number.

        Cuts that are slack leave first.
        """
        values = found.columns
        self._purge()
        rows, ends = self.rows, self.ends
        phase = np.clip(values[self.n + self.m :], 0.0, 1.0)[ends.owner]
        inside = rows.values * values[rows.indices] - ends.least * (1.0 - phase)
        outside = ends.largest * phase
        chosen = inside < outside
        own = values[self.n + self.m :]
        value = rows.offset * own + np.bincount(
            ends.owner, np.where(chosen, inside, outside), minlength=self.m
        )
        excess = values[self.n : self.n + self.m] - value
        least = SETTINGS.violation * np.maximum(rows.upper, SETTINGS.least)
        violated = np.flatnonzero(self.free & (excess > least))
        if not len(violated):
            return 0
        coefficient = rows.offset + np.bincount(
            ends.owner, np.where(chosen, ends.least, ends.largest), minlength=self.m
        )
        floor = np.bincount(ends.owner, np.where(chosen, ends.least, 0.0), minlength=self.m).astype(
            np.float64
        )
        kept = sparse.csr_array(
            (np.where(chosen, rows.values, 0.0), rows.indices, rows.indptr),
            shape=(self.m, self.n + self.m),
        )[violated]
        kept.eliminate_zeros()
        count = len(violated)
        places = np.arange(count)
        unit = sparse.csr_array((np.ones(count), (places, violated)), shape=(count, self.m))
        phases = sparse.csr_array(
            (coefficient[violated], (places, violated)), shape=(count, self.m)
        )
        left = sparse.hstack([sparse.csr_array((count, self.n)), unit]) - kept
        block = sparse.csr_array(sparse.hstack([left, -phases], format="csr"))
        self.highs.add_matrix(block, np.full(count, -INFINITY), -floor[violated])
        self.cuts.append((violated, chosen, coefficient, floor))
        return count

    def _purge(self) -> None:
        """Drop the cuts whose slack is basic; the basis stays the optimal one."""
        basis = self.highs.getBasis()
        rows = basis.row_status
        slack = np.array([x == highspy.HighsBasisStatus.kBasic for x in rows[3 * self.m :]], bool)
        if not np.any(slack):
            return
        dropped = 3 * self.m + np.flatnonzero(slack)
        self.highs.deleteRows(len(dropped), dropped.astype(np.int32))
        basis.row_status = np.delete(np.array(rows, object), dropped).tolist()
        self.highs.setBasis(basis)
        sizes = np.cumsum([len(neurons) for neurons, *_ in self.cuts])[:-1]
        kept = [
            (neurons[~out], *rest)
            for (neurons, *rest), out in zip(self.cuts, np.split(slack, sizes), strict=True)
        ]
        self.cuts = [cut for cut in kept if len(cut[0])]

    def planes(self, found: Optimum) -> CuttingPlanes:
        """One upper plane per neuron, the rows combined by an optimum's duals."""
        rows, m = self.rows, self.m
        duals = np.maximum(-found.duals, 0.0)
        top, bottom = duals[m : 2 * m], duals[2 * m : 3 * m]
        total = top + bottom
        share = bottom[self.ends.owner]
        ceiling = bottom * (rows.offset - np.minimum(rows.lower, 0.0))
        phase = top * np.maximum(rows.upper, 0.0) + bottom * np.minimum(rows.lower, 0.0)
        cut = np.zeros(m)
        start = 3 * m
        for violated, chosen, coefficient, floor in self.cuts:
            y = np.zeros(m)
            y[violated] = duals[start : start + len(violated)]
            start += len(violated)
            total, cut = total + y, cut + y
            share = share + y[self.ends.owner] * chosen
            ceiling = ceiling - y * floor
            phase = phase + y * coefficient
        has = self.free & (total > 1e-9) & (cut > 1e-3 * total)
        scale = np.where(has, 1.0 / np.where(has, total, 1.0), 0.0)
        # The indicator at its worse end; the duals leave next to nothing of it.
        offset = scale * (ceiling + np.maximum(phase, 0.0))
        values = rows.values * share * scale[self.ends.owner]
        size = np.abs(offset) + np.abs(scale * phase)
        error = ERROR * rows.error + 1e-13 * size
        return CuttingPlanes(has.astype(np.uint8), values, offset, error)


def with_planes(root: Subproblem, resources: Resources, rounds: int) -> tuple[Subproblem, int]:
    """Return a root with planes from `rounds` of cuts, and the number of cuts.

    The root's bound never gets worse: planes that do not help are dropped.
    """
    cuts = Cuts(root)
    count = 0
    for _ in range(rounds):
        found = cuts.solve(resources)
        if found is None:
            return root, 0
        added = cuts.separate(found)
        count += added
        if not added:
            break
    last = cuts.solve(resources) if count else None
    if last is None:
        return root, 0
    weights = np.full(root.neurons, SETTINGS.first_weight)
    cut = replace(
        root,
        relaxation=root.relaxation._replace(planes=cuts.planes(last)),
        parameters=root.parameters._replace(cut_weights=weights),
    ).optimised()
    # The radius is proven either way.
    return (replace(root, radius=cut.radius) if cut.bound < root.bound else cut), count
