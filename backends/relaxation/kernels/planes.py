"""Upper planes from ideal single-neuron cuts, each the one that a point violates most.

For z = w . v + o, low <= z <= high, h = relu(z), the phase p (0 or 1) of the neuron, and any subset
I of its inputs (Anderson et al. 2020, "Strong mixed-integer programming formulations for trained
neural networks"),

    h <= sum_I (w_i v_i - L_i) + f p,      f = o + sum_I L_i + sum_not_I U_i,
    h <= z - low + low p,
    h <= high p,

where L_i and U_i are the least and the largest value of w_i v_i. A convex combination of the first
line with the second (f >= 0) or the third (f < 0) is free of p, and so holds whatever the phase is.
It uses the neuron's own bounds, which are tighter than those of its inputs. Of all subsets, and
combinations of subsets, the best at a point is a prefix of the inputs in the order of
(w_i v_i - L_i) / (U_i - L_i), or the combination of the two prefixes between which f changes its
sign for which f is 0: as a linear-fractional program in the inputs' shares, it has a threshold.
"""

import numpy as np

from graphprune.backends.relaxation.kernels.types import (
    CondensedRows,
    Floats,
    NetworkRelaxation,
    Parameters,
    RegionBox,
    Workspace,
)
from graphprune.runtime.jit import kernel

# The planes' rounding: a multiple of the rows' (sums over the box besides the row itself, and the
# roundings of up to a thousand mixtures), and a share of the offset.
ROWS_ERROR, OFFSET_ERROR = 16.0, 1e-13


@kernel
def strongest_cut(
    rows: CondensedRows, box: RegionBox, j: int, point: Floats, values: Floats
) -> tuple[float, float]:
    """Return value and offset of the plane of neuron j that is lowest at a point of the basis.

    Its coefficients go to the beginning of `values`, in the order of the row.
    """
    n, first, size = rows.inputs, rows.indptr[j], rows.indptr[j + 1] - rows.indptr[j]
    low, high = rows.lower[j], rows.upper[j]
    least, width, part, order_by = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    z = f = rows.offset[j]
    for q in range(size):
        t, w = rows.indices[first + q], rows.values[first + q]
        if t < n:
            ends = w * box.lower[t], w * box.upper[t]
        else:
            ends = w * max(rows.lower[t - n], 0.0), w * max(rows.upper[t - n], 0.0)
        least[q] = min(ends[0], ends[1])
        width[q] = abs(ends[1] - ends[0])
        part[q] = w * point[t] - least[q]
        order_by[q] = part[q] / width[q] if width[q] > 0.0 else np.inf
        z += w * point[t]
        f += least[q] + width[q]
    order = np.argsort(order_by)
    inside, best, count, fraction = 0.0, np.inf, 0, 0.0
    cut = row = 0.0
    for q in range(size + 1):
        share = -low / (f - low) if f >= 0.0 else high / (high - f)
        rest = 1.0 - share if f >= 0.0 else 0.0
        value = share * inside + rest * (z - low)
        if value < best:
            best, count, fraction, cut, row = value, q, 0.0, share, rest
        if q == size:
            break
        i = order[q]
        if f > 0.0 and f < width[i]:
            value = inside + f / width[i] * part[i]
            if value < best:
                best, count, fraction, cut, row = value, q, f / width[i], 1.0, 0.0
        inside += part[i]
        f -= width[i]
    # Computed anew, not by differences: the error counts on sums of the ends alone.
    f = rows.offset[j]
    offset = row * (rows.offset[j] - low)
    for q in range(size):
        i = order[q]
        own = 1.0 if q < count else fraction if q == count else 0.0
        values[i] = (row + cut * own) * rows.values[first + i]
        offset -= cut * own * least[i]
        f += least[i] + (1.0 - own) * width[i]
    # The rest of the phase after rounding, at its worse end.
    phase = cut * f + row * low + (1.0 - cut - row) * high
    return best, offset + max(phase, 0.0)


@kernel
def mix_cuts(
    relaxation: NetworkRelaxation,
    parameters: Parameters,
    workspace: Workspace,
    point: Floats,
    share: float,
    first_weight: float,
    violation: float,
) -> int:
    """Mix into the neurons' planes, in place, the cuts that a point violates; their number.

    Parameters
    ----------
    workspace
        The last pass: neurons whose upper bound it did not use have no need of a plane.
    point
        (basis,) an average of minimisers, near the optimum of the linear program.
    share
        The share of a cut in its neuron's plane; a neuron without a plane takes it whole.
    first_weight
        A new plane's share in the neuron's upper bound.
    violation
        Cuts that are violated by a smaller share of the neuron's upper bound are left out.
    """
    rows, planes, box = relaxation
    n, m = rows.inputs, len(rows.offset)
    values = np.empty(n + m)
    count = 0
    for j in range(m):
        stable = parameters.phases[j] != 0 or rows.lower[j] >= 0.0 or rows.upper[j] <= 0.0
        if stable or workspace.coefficients[n + j] >= 0.0:
            continue
        value, offset = strongest_cut(rows, box, j, point, values)
        # Written so that NaN is no cut.
        if not point[n + j] - value > violation * rows.upper[j]:
            continue
        count += 1
        own = share if planes.has[j] else 1.0
        if not planes.has[j]:
            planes.has[j] = 1
            parameters.cut_weights[j] = first_weight
        start, size = rows.indptr[j], rows.indptr[j + 1] - rows.indptr[j]
        plane = planes.values[start : start + size]
        for q in range(size):
            plane[q] = (1.0 - own) * plane[q] + own * values[q]
        planes.offset[j] = (1.0 - own) * planes.offset[j] + own * offset
        planes.error[j] = ROWS_ERROR * rows.error[j] + OFFSET_ERROR * (
            abs(planes.offset[j]) + abs(offset)
        )
    return count
