"""The least value of a row over the ball of a norm within a box, and the radius where it reaches 0.

With y = x - center, p the norm's order and any multiplier m > 0, every x of the box has

    a . x + m |y|_p^p / p  >=  a . center + sum_i min over the box of (a_i y_i + m |y_i|^p / p),

so the right side less m r^p / p is at most the row's minimum over the ball of radius r, and where
a . x + constant <= 0, the right side plus the constant is at most m |y|_p^p / p: a radius. Both
hold for any m, which is only looked for to be good. The minimum's terms are separate, and known in
closed form; the box need not hold the centre.

Rounding. A term's minimiser is wrong by a few units of its last digit, which its value feels in
second order inside, and with the slope |a_i| + m |y_i|^(p-1) at an end, that is rounded itself. So
every term is wrong by some u (|a_i| (|center_i| + |y_i|) + m |y_i|^p), and their sum by n u times
the sum of these sizes. `ROUNDINGS` (n + 64) u times their sum, and m r^p, covers both four times.
"""

from typing import TypeAlias

import numpy as np

from graphprune.backends.relaxation.kernels.box import box_minimum
from graphprune.backends.relaxation.kernels.types import Floats, NormBall, RegionBox
from graphprune.runtime.jit import fast_part, kernel_part
from graphprune.runtime.loops import sink

# Half the distance from 1 to the next number.
UNIT = 2.0**-53
ROUNDINGS = 8.0
# Newton's steps to a multiplier, between ends that close in, and where they are near enough: values
# feel it in second order.
STEPS, NEAR = 40, 1e-7
# The same for guides, and the share of a like multiplier down to which elements are looked at.
ROUGHLY, FLATTER = 1e-3, 0.7
# By how much a radius is made shorter, for the few operations on totals.
SHORTER = 1.0 - 1e-12
# Multipliers of what the ball does not reach, in units of the largest coefficient.
HUGE = 1e6

# The least value, no more than a guide, and its multiplier.
Standing: TypeAlias = tuple[float, float]


@kernel_part
def lagrangian(
    coefficients: Floats, box: RegionBox, order: int, multiplier: float, point: Floats
) -> tuple[float, float]:
    """Return the least value of the Lagrangian over the box, and what its rounding is a share of.

    The minimiser goes into `point`.
    """
    value = 0.0
    size = 0.0
    for i in range(len(box.lower)):
        a, center = coefficients[i], box.center[i]
        low, high = box.lower[i] - center, box.upper[i] - center
        if order == 2:
            y = min(max(-a / multiplier, low), high)
            penalty = 0.5 * multiplier * y * y
        else:
            y = min(max(0.0, low), high)
            if abs(a) > multiplier:
                y = low if a > 0.0 else high
            penalty = multiplier * abs(y)
        point[i] = min(max(center + y, box.lower[i]), box.upper[i])
        value += a * center + (a * y + penalty)
        size += abs(a) * (abs(center) + abs(y)) + 2.0 * penalty
    return value, ROUNDINGS * (len(box.lower) + 64) * UNIT * size


@kernel_part
def ball_minimum(
    coefficients: Floats, box: RegionBox, ball: NormBall, point: Floats
) -> tuple[float, float]:
    """Return the least value over ball and box of the inputs' part, and its error.

    The minimiser goes into `point`. A multiplier of 0 leaves the box.
    """
    radius, order = ball
    multiplier, rest = ball_multiplier(coefficients, box, ball, 0.0)
    if multiplier > 0.0:
        value, error = lagrangian(coefficients, box, order, multiplier, point)
        whole = multiplier * radius * (0.5 * radius if order == 2 else 1.0)
        if order == 1:
            share_rest(coefficients, box, multiplier, rest, point)
        return value - whole, error + ROUNDINGS * (len(box.lower) + 64) * UNIT * whole
    return box_minimum(coefficients, box, point)


@kernel_part
def ball_root(coefficients: Floats, box: RegionBox, ball: NormBall, constant: float) -> float:
    """Return a radius below which a linear bound over the inputs is positive in the box."""
    fall = constant
    for i in range(len(box.lower)):
        fall += coefficients[i] * box.center[i]
    if not fall > 0.0:
        return 0.0
    order = ball.order
    multiplier = root_multiplier(coefficients, box, ball, fall)
    point = np.empty(len(box.lower))
    value, error = lagrangian(coefficients, box, order, multiplier, point)
    value += constant
    value -= error + 1e-13 * (abs(constant) + abs(value))
    # Written so that NaN proves nothing.
    if not (value > 0.0 and multiplier > 0.0):
        return 0.0
    length = value / multiplier
    return (np.sqrt(2.0 * length) if order == 2 else length) * SHORTER


@kernel_part
def ball_cut(
    coefficients: Floats, constant: float, box: RegionBox, ball: NormBall, lower: Floats,
    upper: Floats,
) -> None:  # fmt: skip
    """Shrink a box to where coefficients . x + constant <= 0 can hold in the ball.

    The Lagrangian's terms add up to at most m r^p / p - constant there. With the others at their
    least, one is at most `slack` above its own least value, and so its input near its minimiser.
    """
    radius, order = ball
    multiplier, _ = ball_multiplier(coefficients, box, ball, 0.0)
    point = np.empty(len(lower))
    if not multiplier > 0.0:
        return
    value, error = lagrangian(coefficients, box, order, multiplier, point)
    whole = multiplier * radius * (0.5 * radius if order == 2 else 1.0)
    slack = (whole - value - constant) * (1.0 + 1e-9) + 1e-12 * (1.0 + abs(constant))
    slack += error + 1e-12 * (whole + abs(value))
    if not slack >= 0.0:
        return
    for i in range(len(lower)):
        a, center = coefficients[i], box.center[i]
        at = point[i] - center
        if order == 2:
            middle = -a / multiplier
            half = np.sqrt((at - middle) * (at - middle) + 2.0 * slack / multiplier)
            low, high = middle - half, middle + half
            wide = 1e-12 * (abs(middle) + half)
        else:
            most = max(0.0, a * at + multiplier * abs(at) + slack)
            up, down = multiplier + a, multiplier - a
            high = most / up if up > 1e-6 * multiplier else np.inf
            low = -most / down if down > 1e-6 * multiplier else -np.inf
            wide = 1e-9 * (abs(at) + most / multiplier)
        wide += 1e-12 * (abs(center) + abs(at))
        high = center + (high + wide) * (1.0 + (1e-9 if high > 0.0 else -1e-9))
        low = center + (low - wide) * (1.0 + (1e-9 if low < 0.0 else -1e-9))
        if high < upper[i]:
            upper[i] = high
        if low > lower[i]:
            lower[i] = low


@kernel_part
def share_rest(
    coefficients: Floats, box: RegionBox, multiplier: float, rest: float, point: Floats
) -> None:
    """Move one input of the multiplier's own size by what the others left of the radius."""
    for i in range(len(box.lower)):
        a = coefficients[i]
        if abs(a) == multiplier:
            step = min(rest, abs((box.lower[i] if a > 0.0 else box.upper[i]) - point[i]))
            point[i] -= step if a > 0.0 else -step
            return


@fast_part
def ball_multiplier(
    coefficients: Floats, box: RegionBox, ball: NormBall, start: float
) -> tuple[float, float]:
    """Return a good multiplier of the ball's constraint, and the rest of the radius in l1.

    Parameters
    ----------
    start
        The best multiplier for similar coefficients, where the result is no more than a guide; 0:
        none is known.
    """
    if ball.order == 2:
        return square_multiplier(coefficients, box, ball.radius * ball.radius, True, start), 0.0
    if start > 0.0:
        multiplier, rest = sorted_multiplier(coefficients, box, ball.radius, False, FLATTER * start)
        if multiplier > 0.0:
            return multiplier, rest
    return sorted_multiplier(coefficients, box, ball.radius, False, 0.0)


@fast_part
def root_multiplier(coefficients: Floats, box: RegionBox, ball: NormBall, fall: float) -> float:
    """Return a good multiplier for the radius at which the row has fallen by `fall`."""
    if ball.order == 2:
        multiplier = square_multiplier(coefficients, box, fall, False, 0.0)
    else:
        multiplier, _ = sorted_multiplier(coefficients, box, fall, True, 0.0)
    if multiplier > 0.0:
        return multiplier
    # In all the box the row falls by less: with a small multiplier that shows beyond the ball.
    for i in range(len(box.lower)):
        a = coefficients[i]
        fall -= max(a * (box.center[i] - box.lower[i]), a * (box.center[i] - box.upper[i]))
    reach = ball.radius * ball.radius if ball.order == 2 else ball.radius
    return float(0.25 * fall / max(reach, 1e-300))


@fast_part
def square_multiplier(
    coefficients: Floats, box: RegionBox, wanted: float, lengths: bool, start: float
) -> float:
    """Return the multiplier m at which y = clip(-a / m) has the length or the fall that is wanted.

    Both grow with w = 1 / m, towards what the box lets them; 0 where that is too little. Newton's
    steps on the free elements, whose share is a^2 w^2 or a^2 w, between ends that close in.

    Parameters
    ----------
    wanted
        The squared length, or the fall -a . y.
    lengths
        True: it is a length.
    start
        A multiplier to start from, where the result is no more than a guide; 0: none is known.
    """
    size = 0.0
    for i in range(len(box.lower)):
        size += coefficients[i] * coefficients[i]
    if not size > 0.0:
        return 0.0
    below, above = 0.0, np.inf
    w = max(np.sqrt(wanted / size) if lengths else wanted / size, 1e-150)
    near = NEAR
    if start > 0.0:
        w, near = 1.0 / start, ROUGHLY
    for _ in range(STEPS):
        # Written without branches, so that the loop becomes vector instructions.
        stopped, free, waits = 0.0, 0.0, 0.0
        for i in range(len(box.lower)):
            a, center = coefficients[i], box.center[i]
            y = -a * w
            end = min(max(y, box.lower[i] - center), box.upper[i] - center)
            stays = 1.0 if end != y else 0.0
            stopped += stays * (end * end if lengths else -a * end)
            free += (1.0 - stays) * a * a
            # One whose nearest place in the box is farther than it would go by now.
            waits += stays * (1.0 if abs(y) < abs(end) and a != 0.0 else 0.0)
        reached = stopped + (free * w * w if lengths else free * w)
        if abs(reached - wanted) <= near * wanted:
            break
        if reached < wanted:
            below = w
            if free == 0.0 and waits == 0.0:
                return 0.0
        else:
            above = w
        left = (wanted - stopped) / free if free > 0.0 else -1.0
        better = (np.sqrt(left) if lengths else left) if left > 0.0 else 0.0
        if below < better < above:
            w = better
        elif above == np.inf:
            w *= 4.0
        else:
            w = 0.5 * (below + above) if below > 0.0 else 0.1 * above
    return float(1.0 / w)


@fast_part
def sorted_multiplier(
    coefficients: Floats, box: RegionBox, wanted: float, falls: bool, least: float
) -> tuple[float, float]:
    """Return the |a_i| at which the moves of steeper elements reach what is wanted, and its rest.

    0 where all of them do not.

    Parameters
    ----------
    wanted
        The length of all moves, or the fall by them where `falls`.
    least
        Elements that are not steeper are left out.
    """
    rank = np.empty(len(box.lower), dtype=np.int64)
    left, steepest, count = wanted, 0.0, 0
    for i in range(len(box.lower)):
        a, center = coefficients[i], box.center[i]
        nearest = min(max(0.0, box.lower[i] - center), box.upper[i] - center)
        left -= -a * nearest if falls else abs(nearest)
        steepest = max(steepest, abs(a))
        if abs(a) > least:
            rank[count] = i
            count += 1
    if left <= 0.0:
        # The box itself is that far.
        return HUGE * max(steepest, 1e-30), 0.0
    for i in range(count // 2 - 1, -1, -1):
        sink(coefficients, rank, i, count)
    while count > 0:
        i = rank[0]
        a, center = coefficients[i], box.center[i]
        low, high = box.lower[i] - center, box.upper[i] - center
        nearest = min(max(0.0, low), high)
        move = nearest - low if a > 0.0 else high - nearest
        before = left
        left -= abs(a) * move if falls else move
        if left <= 0.0:
            return abs(a), before / abs(a) if falls else before
        count -= 1
        rank[0] = rank[count]
        sink(coefficients, rank, 0, count)
    return 0.0, 0.0


@fast_part
def ball_standing(coefficients: Floats, box: RegionBox, ball: NormBall) -> Standing:
    """Return the least value over ball and box, no more than a guide, and its multiplier."""
    multiplier, _ = ball_multiplier(coefficients, box, ball, 0.0)
    return guide(coefficients, box, ball, multiplier), multiplier


@fast_part
def guide(coefficients: Floats, box: RegionBox, ball: NormBall, multiplier: float) -> float:
    """Return the least value of the Lagrangian less the ball's part; no more than a guide."""
    total = 0.0
    if multiplier == 0.0:
        for i in range(len(box.lower)):
            a = coefficients[i]
            total += min(a * box.lower[i], a * box.upper[i])
        return total
    if ball.order == 2:
        for i in range(len(box.lower)):
            a, center = coefficients[i], box.center[i]
            y = min(max(-a / multiplier, box.lower[i] - center), box.upper[i] - center)
            total += a * (center + y) + 0.5 * multiplier * y * y
        return total - 0.5 * multiplier * ball.radius * ball.radius
    for i in range(len(box.lower)):
        a, center = coefficients[i], box.center[i]
        low, high = box.lower[i] - center, box.upper[i] - center
        y = min(max(0.0, low), high)
        end = low if a > 0.0 else high
        y = end if abs(a) > multiplier else y
        total += a * (center + y) + multiplier * abs(y)
    return total - multiplier * ball.radius


@fast_part
def ball_change(
    coefficients: Floats, box: RegionBox, ball: NormBall, delta: Floats, standing: Standing
) -> float:
    """Return how much the least value over ball and box changes; clear the inputs' changes."""
    old, multiplier = standing
    for i in range(len(box.lower)):
        delta[i] += coefficients[i]
    changed, _ = ball_multiplier(delta, box, ball, multiplier)
    change = guide(delta, box, ball, changed) - old
    for i in range(len(box.lower)):
        delta[i] = 0.0
    return change
