"""Upper planes from ideal single-neuron cuts, each the one that a point violates most.

For z = w . v + o, low <= z <= high, h = relu(z), the phase p (0 or 1) of the neuron, and any shares
s of its inputs in [0, 1] (Anderson et al. 2020, "Strong mixed-integer programming formulations for
trained neural networks": shares of 0 and 1, and what mixes them),

    h <= sum s_i (w_i v_i - L_i) + f p,      f = o + sum s_i L_i + sum (1 - s_i) U_i,
    h <= z - low + low p,
    h <= high p,

where L_i and U_i are the least and the largest value of w_i v_i. A convex combination of the first
line with the second (f >= 0) or the third (f < 0) is free of p, and so holds whatever the phase is.
It uses the neuron's own bounds, which are tighter than those of its inputs.

At a point, the lowest combination is what all lines together leave to h at the best p. The lowest
of the first lines at p takes the inputs whose (w_i v_i - L_i) / (U_i - L_i) is below p. It is
concave in p, with slope f, so that a few tangents find the best p, each by one sum over the inputs.
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
from graphprune.runtime.jit import fast_part, kernel

# The planes' rounding: a multiple of the rows' (sums over the box besides the row itself, and the
# roundings of up to a thousand mixtures), and a share of the offset.
ROWS_ERROR, OFFSET_ERROR = 16.0, 1e-13
# Tangents after which the shares at hand are taken, and what they may be off, as a share of `high`.
TANGENTS, CLOSE = 20, 1e-12


@fast_part
def before(order: Floats, part: Floats, width: Floats, p: float) -> tuple[float, float]:
    """Sum parts and widths of the inputs that come before p."""
    inside = off = 0.0
    for q in range(len(order)):
        own = 1.0 if order[q] < p else 0.0
        inside += own * part[q]
        off += own * width[q]
    return inside, off


@kernel
def strongest_cut(
    rows: CondensedRows, box: RegionBox, j: int, point: Floats, values: Floats
) -> tuple[float, float]:
    """Return value and offset of the plane of neuron j that is lowest at a point of the basis.

    Its coefficients go to the beginning of `values`, in the order of the row. Where no plane is
    below the triangle's line, that line.
    """
    n, first, size = rows.inputs, rows.indptr[j], rows.indptr[j + 1] - rows.indptr[j]
    low, high = rows.lower[j], rows.upper[j]
    least, width, part, order = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    z = rows.offset[j]
    total = rows.offset[j]
    for q in range(size):
        t, w = rows.indices[first + q], rows.values[first + q]
        if t < n:
            ends = w * box.lower[t], w * box.upper[t]
        else:
            ends = w * max(rows.lower[t - n], 0.0), w * max(rows.upper[t - n], 0.0)
        least[q] = min(ends[0], ends[1])
        width[q] = abs(ends[1] - ends[0])
        part[q] = w * point[t] - least[q]
        order[q] = part[q] / width[q] if width[q] > 0.0 else np.inf
        z += w * point[t]
        total += least[q] + width[q]
    # The tangents on both sides of the best p, rising and falling ones: where they touch, their
    # values at 0, and slopes.
    p, model = (z - low) / (high - low), high * (z - low) / (high - low)
    left = right = -np.inf
    left_inside = right_inside = left_slope = right_slope = 0.0
    rises = falls = onward = peak = False
    for step in range(TANGENTS):
        inside, off = before(order, part, width, p)
        slope = total - off
        if not inside + slope * p < model - CLOSE * high:
            break
        if slope > 0.0:
            left, left_inside, left_slope, rises = p, inside, slope, True
        else:
            right, right_inside, right_slope, falls = p, inside, slope, True
        if step == 0:
            onward = rises
        # Where the tangent on this side meets the second line, or the third.
        p = (
            (z - low - left_inside) / (left_slope - low)
            if onward
            else right_inside / (high - right_slope)
        )
        model = z - low + low * p if onward else high * p
        peak = False
        if rises and falls:
            top = (right_inside - left_inside) / (left_slope - right_slope)
            peak = top < p if onward else top > p
            if peak:
                p, model = top, left_inside + left_slope * top
    if peak:
        share, cut, row = left_slope / (left_slope - right_slope), 1.0, 0.0
    elif rises and onward:
        share, cut, row = 0.0, -low / (left_slope - low), left_slope / (left_slope - low)
    elif falls:
        share, cut, row = 1.0, high / (high - right_slope), 0.0
    else:
        share, cut, row = 0.0, 0.0, high / (high - low)
    # Computed anew, not by differences: the error counts on sums of the ends alone.
    value = row * (z - low)
    offset = row * (rows.offset[j] - low)
    f = rows.offset[j]
    for q in range(size):
        own = share if order[q] < right else 0.0
        own += 1.0 - share if order[q] < left else 0.0
        values[q] = (row + cut * own) * rows.values[first + q]
        value += cut * own * part[q]
        offset -= cut * own * least[q]
        f += least[q] + (1.0 - own) * width[q]
    # The rest of the phase after rounding, at its worse end.
    phase = cut * f + row * low + (1.0 - cut - row) * high
    return value, offset + max(phase, 0.0)


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
