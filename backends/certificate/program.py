"""The best multipliers of one case, as the duals of a linear program.

min g . v over x in the box, z_j = w_j . v + b_j + (p_j - q_j), (z_j, h_j) in the convex hull of the
ReLU's graph on the case's phase, with a penalty on p and q: the duals of the equations are the
checker's multipliers, bounded by the penalty, so that a case without points has duals too: their
bound is positive if the penalty is large enough. HiGHS's numerics decide nothing, since the
checker's inequality evaluates what it finds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from graphprune.backends.certificate.relaxation import Floats
from graphprune.check.bound import System
from graphprune.check.forms import AffineForm

# The penalty, relative to the goal's largest coefficient.
PENALTY = 1e3
SECONDS = 10.0


def best_multipliers(
    system: System, goal: AffineForm, state: NDArray[np.int8]
) -> tuple[Floats, Floats] | None:
    """Multipliers (width,) of a goal (one row) on a case, and of the planes.

    None where HiGHS gives up.

    `state`: with the phases that the bounds leave.
    """
    n, m = system.inputs, system.width
    lower = np.where(state > 0, np.maximum(system.lower, 0.0), system.lower)
    upper = np.where(state < 0, np.minimum(system.upper, 0.0), system.upper)
    chord = np.where(state == 0, upper, 0.0) / np.where(state == 0, upper - lower, 1.0)
    free, active = np.flatnonzero(state == 0), np.flatnonzero(state > 0)
    # Columns: v = (x, h), z, p, q.
    row = goal.widen(n + m).rows.toarray()[0]
    penalty = PENALTY * max(1.0, float(np.max(np.abs(row), initial=0.0)))
    cost = np.concatenate([row, np.zeros(m), np.full(2 * m, penalty)])
    eye = sparse.eye_array(m, format="csr")
    link = sparse.hstack([-system.form.rows, eye, -eye, eye], format="csr")
    pick_h = sparse.eye_array(m, n + m, k=n, format="csr")
    nothing = sparse.csr_array((m, 2 * m))
    same = sparse.hstack([pick_h, -eye, nothing], format="csr")
    line = sparse.hstack([pick_h, -sparse.diags_array(chord), nothing], format="csr")
    # Active: h = z. Free: h >= z and h <= chord (z - l).
    equations = sparse.vstack([link, same[active]], format="csr")
    rows = sparse.vstack([-same[free], line[free]], format="csr")
    limits = np.concatenate([np.zeros(len(free)), -chord[free] * lower[free]])
    low = np.concatenate([system.low[:n], np.zeros(m), lower, np.zeros(2 * m)])
    high = np.concatenate([system.high[:n], np.maximum(upper, 0.0), upper, np.full(2 * m, np.inf)])
    if system.planes is not None:
        own = system.planes
        count = len(own.neurons)
        unit = (np.ones(count), (np.arange(count), n + own.neurons))
        up = sparse.coo_array(unit, shape=(count, n + m))
        over = sparse.hstack([up - own.form.rows, sparse.csr_array((count, 3 * m))])
        rows = sparse.vstack([rows, over], format="csr")
        limits = np.concatenate([limits, own.form.offset])
    result: Any = linprog(  # type: ignore[call-overload]
        cost, A_ub=rows, b_ub=limits, A_eq=equations,
        b_eq=np.concatenate([system.form.offset, np.zeros(len(active))]),
        bounds=np.stack([low, high], axis=1), method="highs", options={"time_limit": SECONDS},
    )  # fmt: skip
    if result.status != 0:
        return None
    # d cost / d b_j: adding m_j (w_j . v + b_j - z_j) to the goal.
    planes = np.maximum(-np.asarray(result.ineqlin.marginals[2 * len(free) :], np.float64), 0.0)
    return np.asarray(result.eqlin.marginals[:m], np.float64), planes
