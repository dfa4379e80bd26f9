"""alpha-CROWN: the lines of every row chosen by projected Adam, inside one compiled loop.

An activation offers two lines per side; a row takes their mixture, a number of [0, 1] per neuron.
The bound of a row is a . x* + constant at the corner x* of the box that minimises it. Carrying x*
up through the lines the row used gives a value z* for every pre-activation, and the derivative of
the bound by the mixture of a neuron with coefficient a (at its output) is

    a ((slope1 - slope0) z* + (offset1 - offset0)):

the adjoint of the relaxation, evaluated forward. Every step's bound is sound by itself; the best
one is kept. Xu et al. 2021, "Fast and complete: enabling complete verification with rapid and
massively parallel incomplete verifiers" (alpha-CROWN); Kingma and Ba 2015 (Adam).
"""

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.compact.kernels import (
    Balls,
    Floats,
    Ints,
    Net,
    State,
    _clear,
    _constants,
    _push,
    _work,
    input_minimum,
    reached,
)
from graphprune.backends.jit import fast_kernel

# Adam's decay of the means, and what a step size loses per step.
FIRST, SECOND, DECAY = 0.9, 0.999, 0.98


@fast_kernel
def _relax_mixed(
    net: Net, state: State, other: State, box: int, value: int,
    p: Floats, flags: NDArray[np.uint8], alpha: Floats, output: Floats,
) -> tuple[float, float]:  # fmt: skip
    """`lanes._relax` with mixed lines; notes the rows at the activation in `output`."""
    total = size = 0.0
    block = net.first_block[value]
    while True:
        i, end, block = reached(net, value, block, flags)
        if i == end:
            return total, size
        for j in range(i, end):
            a, mix = p[j], alpha[j]
            if a >= 0.0:
                s0, s1 = state.lower_slope[box, j], other.lower_slope[box, j]
                o0, o1 = state.lower_offset[box, j], other.lower_offset[box, j]
            else:
                s0, s1 = state.upper_slope[box, j], other.upper_slope[box, j]
                o0, o1 = state.upper_offset[box, j], other.upper_offset[box, j]
            below = a * (s0 + mix * (s1 - s0))
            total += a * (o0 + mix * (o1 - o0)) + below * net.offset[j]
            # Mixing rounds in proportion to both lines, not to the mixture.
            slopes, offsets = abs(s0) + abs(s1), abs(o0) + abs(o1)
            size += abs(a) * (offsets + slopes * state.magnitude[box, j])
            output[j], p[j] = a, below


@fast_kernel
def _climb(
    net: Net, state: State, other: State, box: int, value: int,
    y: Floats, z: Floats, here: Ints,
    point_p: Floats, point_q: Floats, output_p: Floats, output_q: Floats,
    alpha_p: Floats, alpha_q: Floats, gradient_p: Floats, gradient_q: Floats,
) -> None:  # fmt: skip
    """Carry the points of two rows from the values below to `value`; derivatives on the way."""
    block = net.block[value]
    for b in range(net.first_block[value], net.first_block[value + 1]):
        number = b - net.first_block[value]
        base = net.start[value] + number * block
        count = 0
        for k in range(min(block, net.width[value] - number * block)):
            here[count] = k
            count += (output_p[base + k] != 0.0) | (output_q[base + k] != 0.0)
        for i in range(count):
            point_p[base + here[i]] = net.offset[base + here[i]]
            point_q[base + here[i]] = net.offset[base + here[i]]
        for e in range(net.edge_start[value - 1], net.edge_start[value]):
            whole = net.edge_block[e] == block
            first = net.edge_group[e] + number * (1 if whole else block)
            for piece in range(1 if whole else count):
                if count == 0:
                    break
                begin, end = (0, count) if whole else (piece, piece + 1)
                group = first + (0 if whole else here[piece])
                width = net.group_width[group]
                o = 0
                for run in range(net.group_run[group], net.group_run[group + 1]):
                    column, n = net.run_column[run], net.run_length[run]
                    y[o : o + n] = point_p[column : column + n]
                    z[o : o + n] = point_q[column : column + n]
                    o += n
                for i in range(begin, end):
                    k = here[i]
                    at = net.group_weight[group] + (k if whole else 0) * width
                    w = net.weights[at : at + width]
                    s = t = 0.0
                    for j in range(width):
                        s += w[j] * y[j]
                        t += w[j] * z[j]
                    point_p[base + k] += s
                    point_q[base + k] += t
        for i in range(count):
            j = base + here[i]
            point_p[j], gradient_p[j] = _through(
                state, other, box, j, output_p[j], alpha_p[j], point_p[j]
            )
            point_q[j], gradient_q[j] = _through(
                state, other, box, j, output_q[j], alpha_q[j], point_q[j]
            )


@fast_kernel
def _through(
    state: State, other: State, box: int, j: int, a: float, mix: float, z: float
) -> tuple[float, float]:
    """The value of the line a row used at pre-activation z; derivative by its mixture."""
    if a >= 0.0:
        s0, s1 = state.lower_slope[box, j], other.lower_slope[box, j]
        o0, o1 = state.lower_offset[box, j], other.lower_offset[box, j]
    else:
        s0, s1 = state.upper_slope[box, j], other.upper_slope[box, j]
        o0, o1 = state.upper_offset[box, j], other.upper_offset[box, j]
    steepness = (s1 - s0) * z + (o1 - o0)
    return s0 * z + o0 + mix * steepness, a * steepness


@fast_kernel
def _adam(
    alpha: Floats, gradient: Floats, mean: Floats, square: Floats, rate: float, step: int
) -> None:
    """One projected ascent step."""
    scale = rate * DECAY**step / (1.0 - FIRST ** (step + 1))
    correction = 1.0 / (1.0 - SECOND ** (step + 1))
    for j in range(len(alpha)):
        g = gradient[j]
        mean[j] = FIRST * mean[j] + (1.0 - FIRST) * g
        square[j] = SECOND * square[j] + (1.0 - SECOND) * g * g
        move = scale * mean[j] / (np.sqrt(square[j] * correction) + 1e-12)
        alpha[j] = min(max(alpha[j] + move, 0.0), 1.0)


@fast_kernel
def optimised_bounds(
    net: Net, state: State, other: State, balls: Balls, target: int, gamma: float, tiny: float,
    steps: int, rate: float, enough: float,
    box: Ints, pointer: Ints, index: Ints, coefficient: Floats, out: Floats,
) -> None:  # fmt: skip
    """`lanes.lower_bounds` with lines optimised for every row.

    Parameters
    ----------
    other
        The second line of every side; the first step uses those of `state` alone.
    steps, rate
        Of Adam.
    enough
        Two rows are finished when both bounds are above this.
    out
        (R,) receives the better of what it held and the best bound of all steps.
    """
    work = _work(net)
    p, q, flags = work.p, work.q, work.flags
    total = len(net.offset)
    base, block = net.start[target], net.block[target]
    alpha_p, alpha_q = np.zeros(total), np.zeros(total)
    mean_p, mean_q, square_p, square_q = (
        np.zeros(total), np.zeros(total), np.zeros(total), np.zeros(total),
    )  # fmt: skip
    gradient_p, gradient_q = np.zeros(total), np.zeros(total)
    output_p, output_q = np.zeros(total), np.zeros(total)
    point_p, point_q = np.zeros(total), np.zeros(total)
    inputs, below = net.width[0], base
    for r in range(0, len(out), 2):
        at = box[r]
        for state_of_rows in (alpha_p, alpha_q, mean_p, mean_q, square_p, square_q):
            state_of_rows[:] = 0.0
        for step in range(steps):
            if out[r] > enough and out[r + 1] > enough:
                break
            for i in range(pointer[r], pointer[r + 1]):
                p[base + index[i]] = coefficient[i]
                flags[net.first_block[target] + index[i] // block] = 1
            for i in range(pointer[r + 1], pointer[r + 2]):
                q[base + index[i]] = coefficient[i]
                flags[net.first_block[target] + index[i] // block] = 1
            t0, e0 = _constants(net, state, at, target, p, flags)
            t1, e1 = _constants(net, state, at, target, q, flags)
            _push(net, target, work)
            for used in (output_p, output_q, point_p, point_q, gradient_p, gradient_q):
                used[:] = 0.0
            for value in range(target - 1, 0, -1):
                m, s = _relax_mixed(net, state, other, at, value, p, flags, alpha_p, output_p)
                t0, e0 = t0 + m, e0 + s
                m, s = _relax_mixed(net, state, other, at, value, q, flags, alpha_q, output_q)
                t1, e1 = t1 + m, e1 + s
                _push(net, value, work)
            m, s = input_minimum(state, balls, at, p[:inputs], point_p[:inputs])
            t0, e0 = t0 + m, e0 + s
            m, s = input_minimum(state, balls, at, q[:inputs], point_q[:inputs])
            t1, e1 = t1 + m, e1 + s
            if not (abs(t0) < np.inf and abs(t1) < np.inf):
                out[r] = out[r + 1] = np.nan
                _clear(net, 0, work)
                break
            out[r] = max(out[r], t0 - gamma * e0 - tiny)
            out[r + 1] = max(out[r + 1], t1 - gamma * e1 - tiny)
            _clear(net, 0, work)
            if step + 1 == steps:
                break
            for value in range(1, target):
                _climb(
                    net, state, other, at, value, work.y, work.z, work.live,
                    point_p, point_q, output_p, output_q,
                    alpha_p, alpha_q, gradient_p, gradient_q,
                )  # fmt: skip
            _adam(alpha_p[:below], gradient_p[:below], mean_p[:below], square_p[:below], rate, step)
            _adam(alpha_q[:below], gradient_q[:below], mean_q[:below], square_q[:below], rate, step)
