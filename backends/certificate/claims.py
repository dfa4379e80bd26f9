"""Claims of a certificate about forms over a system: numbers, multipliers, and what they prove."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graphprune.backends.certificate.systems import Floats, Singles, SystemRelaxation
from graphprune.backends.relaxation.kernels import Parameters
from graphprune.check.bound import System, lower_bounds
from graphprune.check.container import Claims
from graphprune.check.forms import AffineForm, csr


def signed(form: AffineForm, which: NDArray[np.intp]) -> AffineForm:
    """Return the forms `which`, then their negatives: lower bounds of both are both bounds."""
    own = form.take(which)
    return AffineForm(
        csr(sparse.vstack([own.rows, -own.rows], format="csr")),
        np.concatenate([own.offset, -own.offset]), np.concatenate([own.error, own.error]),
    )  # fmt: skip


def claims_of(
    relaxation: SystemRelaxation, goals: AffineForm, numbers: NDArray[np.int32],
    parameters: Sequence[Parameters], assumed: Singles | None = None,
) -> tuple[Claims, Floats]:  # fmt: skip
    """Return claims without trees, and what they prove."""
    m, pi = relaxation.multipliers(goals, parameters, assumed)
    assumption = relaxation.assumption
    known = None if assumed is None or assumption is None else (assumed, assumption)
    phases = phases_of(parameters, relaxation.system)
    values = lower_bounds(relaxation.system, goals, phases, m, pi, known)
    return Claims(numbers, m, None, pi, assumed), values


def phases_of(parameters: Sequence[Parameters], system: System) -> NDArray[np.int8]:
    """Return the phases (R, width) of some parameters."""
    phases = np.zeros((len(parameters), system.width), np.int8)
    for i, own in enumerate(parameters):
        phases[i] = own.phases
    return phases


def part_of(claims: Claims, goals: NDArray[np.bool_]) -> Claims:
    """Return the claims on some of the goals."""
    leaves, trees = goals, None
    if claims.trees is not None:
        # Every tree has one leaf more than splits: the count falls to a new low where one ends.
        total = np.concatenate([[0], np.cumsum(np.where(claims.trees < 0, -1, 1))])
        kept = goals[-np.minimum.accumulate(total)[:-1]]
        trees, leaves = claims.trees[kept], kept[claims.trees < 0]
    return Claims(
        claims.goals[goals], claims.multipliers[leaves], trees,
        None if claims.planes is None else claims.planes[leaves],
        None if claims.assumption is None else claims.assumption[leaves],
    )  # fmt: skip
