"""Compiled passes over the condensed network: the inner loop of the search.

Everything here is one idea, the linear relaxation of Zhang et al. 2018 (CROWN) with the free
slopes of Xu et al. 2021 (alpha) and the split multipliers of Wang et al. 2021 (beta), on sparse
rows. With coefficient a on h_j = relu(z_j), z_j = row_j . v + offset_j,

    unsplit, a > 0    a h >= a slope z                            0 <= slope <= 1
    unsplit, a < 0    a h >= a (1 - w) s (z - l) + a w (plane . v + q)
    active            h = z,  0 >= -slope z                       slope >= 0
    inactive          h = 0,  0 >= +slope z                       slope >= 0

with s = u / (u - l), and w the weight of `plane`, any proven upper plane of the neuron. Going down
the basis, every neuron's coefficient is thus replaced by multiples m of its row and p of its plane,
until only inputs are left.

Rounding. With u = 2^-53, a sum of k products is wrong by at most k u (1 + o(1)) times the sum of
their absolute values; nothing that a bound is computed by is reordered or fused by the compiler.
Multipliers may be any floats: every slope and weight in range gives a valid bound in exact
arithmetic, so that only what is computed *from* them counts.

1.  Rows. ``rows.error`` is 4 R u M_j: M_j bounds |row_j| . |v| + |offset_j| over the ball (products
    along stable neurons included), R is 64 plus all roundings of the condensation, the number of
    inputs and the size of the basis. A quarter pays for the row as it was condensed, a quarter for
    the sums a_i += m_j row_ji of `backward` (at most one per neuron above: what a_i, input or
    neuron, is wrong by, times |v_i|, sums up to at most R u sum_j |m_j| M_j), a quarter for the
    constant (|offset_j| and |l_j| are at most M_j).
2.  Lines. m = c (1 - w) s is some units u off the exact slope; times (z - l) that is a few
    u |c| upper_j <= a few u |m_j| (upper_j - lower_j) <= 2 of them u |m_j| M_j: within the last
    quarter, R being at least 64. The same holds for w + (1 - w) = 1 and for c - slope.
3.  Planes. ``planes.error`` is 16 rows.error and 1e-13 of the plane's own offset: the terms of a
    plane are at most those of its row times shares in [0, 1], summed once more.
4.  Inputs. ``box.error`` is 4 (n + 64) u max|x_i|; the box itself is rounded outward by one ulp,
    or at 0 by 1e-200.
    `box_minimum` needs (n + 1) u max|x_i| of it; `root_radius`, whose terms are c x0 and c r with
    |x0| <= max|x| and r <= 2 max|x|, needs 3 (n + 4) u max|x_i|; `cut_box` (n + 1) u max|x_i|.
5.  The few additions of totals: 1e-13 (|constant| + |value|), over 400 u.
    In the ball of another norm it is the Lagrangian that is summed, with an error of its own: see
    `ball`.
6.  `root_radius` returns a radius: each Newton step from below is made shorter by 1e-12 and 4 n u,
    more than what the quotient of value and slope (a sum of n terms of one sign) is wrong by.

7.  `clip_neurons` sums products of (c + g a) with the box: n + 3 roundings of |c| |x| + g |a| |x|,
    paid by ``box.error`` of both, the row's once at the root. Its differences of sums over all
    inputs before a range need 3 n u g |a| |x| more, also paid by g times that error; the few
    additions of totals as in 5.

Results that only guide (candidates, the children's estimates, gradients, `evaluate_network`) carry
no error terms: a child closed by an estimate is bounded by a pass of its own, and points are
confirmed by the network itself. A NaN closes nothing, as no comparison with it is true.

Rows are stored as runs of neighbouring columns, short gaps filled with zeros, so that products with
them are vector instructions: zeros round nothing.

Regions are boxes, or balls of other norms within boxes: kernels are compiled for the one kind that
they are called with, so that a box costs what it would alone.

Read `types`, `backward` and `ascent` first.
"""

from graphprune.backends.relaxation.kernels.ascent import (
    average_minimiser,
    climb_from,
    optimise,
)
from graphprune.backends.relaxation.kernels.backward import (
    evaluate_network,
    linear_bound,
    root_radius,
)
from graphprune.backends.relaxation.kernels.branching import (
    bound_children,
    candidates,
    child_change,
    standing_of,
    strong_branching,
)
from graphprune.backends.relaxation.kernels.clipping import clip_neurons, input_rows
from graphprune.backends.relaxation.kernels.planes import mix_cuts
from graphprune.backends.relaxation.kernels.tightening import cut_box, tighten_neurons
from graphprune.backends.relaxation.kernels.types import (
    ACTIVE,
    INACTIVE,
    TINY,
    UNSPLIT,
    AscentSettings,
    ChildBounds,
    CondensedRows,
    CuttingPlanes,
    InputRows,
    LinearRow,
    NetworkRelaxation,
    NormBall,
    OptimisedBound,
    Parameters,
    RegionBox,
    Specification,
    Split,
    Workspace,
    workspace_for,
)

__all__ = [
    "ACTIVE",
    "INACTIVE",
    "TINY",
    "UNSPLIT",
    "AscentSettings",
    "ChildBounds",
    "CondensedRows",
    "CuttingPlanes",
    "InputRows",
    "LinearRow",
    "NetworkRelaxation",
    "NormBall",
    "OptimisedBound",
    "Parameters",
    "RegionBox",
    "Specification",
    "Split",
    "Workspace",
    "average_minimiser",
    "bound_children",
    "candidates",
    "child_change",
    "climb_from",
    "clip_neurons",
    "cut_box",
    "evaluate_network",
    "input_rows",
    "linear_bound",
    "mix_cuts",
    "optimise",
    "root_radius",
    "standing_of",
    "strong_branching",
    "tighten_neurons",
    "workspace_for",
]
