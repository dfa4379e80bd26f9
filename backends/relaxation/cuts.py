"""One upper plane per neuron, mixed from ideal single-neuron cuts while the bound is optimised.

The cuts of a neuron are as many as its inputs have subsets. The dual of the linear program with all
of them is a bound that uses one plane per neuron, any convex combination of its cuts. Slopes and
cut weights ascend as for every other bound, and between the steps a small share of each plane goes
to the cut that the average of the last minimisers violates most (a Frank-Wolfe step; the average is
near the program's optimum, single minimisers are corners).
This reaches the optimum of a few rounds of cuts in HiGHS in a tenth to a hundredth of their time
(`benchmarks/PERFORMANCE.md`), and every node of the tree uses the planes as they are.

A plane is valid whatever its share in each cut: nothing rests on how they were found.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import copied
from graphprune.backends.relaxation.kernels import AscentSettings, CuttingPlanes
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.runtime.resources import Resources


@dataclass(frozen=True)
class CutSettings:
    """Constants of cuts.

    Attributes
    ----------
    steps, rate
        Ascent steps of a round and their size: larger ones than elsewhere, since it is an average
        that is looked for.
    share, decay
        A cut's share in its plane is ``share / (1 + decay round)``.
    known
        The round that planes which are known already go on with.
    first_weight
        The planes' share in the upper bounds at first, which the ascent then changes.
    violation
        A cut must be violated by this share of the neuron's upper bound.
    """

    steps: int = 8
    rate: float = 0.5
    share: float = 0.08
    decay: float = 0.15
    known: int = 20
    first_weight: float = 0.3
    violation: float = 1e-3


SETTINGS = CutSettings()


def with_planes(
    root: Subproblem, resources: Resources, rounds: int, settings: CutSettings = SETTINGS
) -> tuple[Subproblem, int]:
    """Return a root with planes from `rounds` of cuts, and the number of cuts.

    The root's bound never gets worse: planes that do not help are dropped.
    """
    has, values, offset, error = root.planes
    planes = CuttingPlanes(has.copy(), values.copy(), offset.copy(), error.copy())
    relaxation = root.relaxation._replace(planes=planes)
    parameters = copied(root.parameters)
    workspace = kernels.workspace_for(root.rows)
    climb = kernels.climb_from(root.neurons)
    ascent = AscentSettings(settings.steps, settings.rate, 0.0)
    point = np.empty(root.basis)
    start = settings.known if root.has_planes else 0
    count = 0
    for place in range(start, start + rounds):
        if resources.over:
            break
        bound = kernels.average_minimiser(
            relaxation, root.specification, parameters, ascent, climb, workspace, point
        )
        if bound > 0.0:
            break
        share = settings.share / (1.0 + settings.decay * place)
        added = kernels.mix_cuts(
            relaxation, parameters, workspace, point, share, settings.first_weight,
            settings.violation,
        )  # fmt: skip
        count += added
        if not added:
            break
    if not count:
        return root, 0
    cut = replace(root, relaxation=relaxation, parameters=parameters).optimised()
    # The radius is proven either way.
    return (replace(root, radius=cut.radius) if cut.bound < root.bound else cut), count


def plane_rows(root: Subproblem) -> sparse.csr_array | None:
    """Return the coefficients (neurons, basis) of a root's planes; None where it has none."""
    if not root.has_planes:
        return None
    rows = root.rows
    has = np.repeat(root.planes.has, np.diff(rows.indptr)).astype(bool)
    values = np.where(has, root.planes.values, 0.0)
    shape = (root.neurons, root.basis)
    planes = sparse.csr_array((values, rows.indices.copy(), rows.indptr.copy()), shape=shape)
    planes.eliminate_zeros()
    return planes
