"""The best parameters of one relaxation: projected ascent (Adam, Kingma and Ba 2015)."""

from typing import NamedTuple

import numpy as np

from graphprune.backends.relaxation.kernels.backward import (
    dot,
    evaluate_lines,
    linear_bound,
    root_radius,
)
from graphprune.backends.relaxation.kernels.neuron import upper_line
from graphprune.backends.relaxation.kernels.types import (
    AscentSettings,
    Floats,
    NetworkRelaxation,
    OptimisedBound,
    Parameters,
    Specification,
    Workspace,
)
from graphprune.runtime.jit import kernel, kernel_part, named
from graphprune.runtime.loops import copy


class AscentConstants(NamedTuple):
    """Constants of the ascent: a named tuple, because compiled code reads it.

    Attributes
    ----------
    mean_decay, square_decay
        Adam's decay of the mean gradient and of its square: shorter memories than its usual 0.9 and
        0.999, because an ascent has some ten steps.
    step_decay
        Every step is this share of the one before.
    aim
        A step goes at most this many times as far as `stop` is to first order (Polyak's rule): deep
        in a tree bounds are close to it, and steps of the usual size only leap about
        (`benchmarks/exact.py --ablate`).
    least_multiplier
        The smallest multiplier of the assumed row that steps are proportional to.
    """

    mean_decay: float = 0.85
    square_decay: float = 0.98
    step_decay: float = 0.97
    aim: float = 1.5
    least_multiplier: float = 0.03


CONSTANTS = AscentConstants()


class Moments(NamedTuple):
    """Adam's running means of a vector's gradient and of its square."""

    mean: Floats
    square: Floats


class Moved(NamedTuple):
    """Moments and present directions of the slopes and the cut weights."""

    slopes: Moments
    cut_weights: Moments
    slope_steps: Floats
    cut_weight_steps: Floats


@kernel_part
def adam(
    moments: Moments, j: int, gradient: float, mean_left: float, square_left: float
) -> tuple[float, float]:
    """Take a gradient into the moments; its direction is the quotient of what comes back.

    Parameters
    ----------
    mean_left, square_left
        The part of the moments that is still from their start at 0: powers of the decays.
    """
    mean, square = moments
    kept, kept_square = CONSTANTS.mean_decay, CONSTANTS.square_decay
    mean[j] = kept * mean[j] + (1.0 - kept) * gradient
    square[j] = kept_square * square[j] + (1.0 - kept_square) * gradient * gradient
    return mean[j] / (1.0 - mean_left), np.sqrt(square[j] / (1.0 - square_left)) + 1e-12


@kernel_part
def within_unit(value: float, gradient: float) -> float:
    """Return the gradient of a value in [0, 1], or 0 where it leads out of it."""
    if (value >= 1.0 and gradient > 0.0) or (value <= 0.0 and gradient < 0.0):
        return 0.0
    return gradient


@kernel_part
def directions(
    relaxation: NetworkRelaxation,
    parameters: Parameters,
    workspace: Workspace,
    moved: Moved,
    mean_left: float,
    square_left: float,
) -> float:
    """Set the directions of all parameters; what the bound gains along them to first order."""
    rows, planes, _ = relaxation
    phases, slopes, cut_weights = parameters
    n, m = rows.inputs, len(rows.offset)
    scale = 0.0
    count = 0
    for j in range(m):
        c = workspace.coefficients[n + j]
        if c != 0.0:
            scale += abs(c)
            count += 1
    scale = scale / max(count, 1)
    gain = 0.0
    for j in range(m):
        c = workspace.coefficients[n + j]
        z = workspace.pre_activations[j]
        moved.slope_steps[j] = moved.cut_weight_steps[j] = 0.0
        if phases[j] != 0:
            g = -z if phases[j] == 1 else z
            if slopes[j] <= 0.0 and g < 0.0:
                g = 0.0
            mean, root = adam(moved.slopes, j, g, mean_left, square_left)
            moved.slope_steps[j] = max(scale, abs(c)) * (mean / root)
            gain += g * moved.slope_steps[j]
        elif c > 0.0:
            g = within_unit(slopes[j], c * z)
            mean, root = adam(moved.slopes, j, g, mean_left, square_left)
            moved.slope_steps[j] = mean / root
            gain += g * moved.slope_steps[j]
        elif c < 0.0 and planes.has[j]:
            line = upper_line(z, rows.lower[j], rows.upper[j])
            g = within_unit(cut_weights[j], c * (workspace.plane_values[j] - line))
            mean, root = adam(moved.cut_weights, j, g, mean_left, square_left)
            moved.cut_weight_steps[j] = mean / root
            gain += g * moved.cut_weight_steps[j]
    return gain


@kernel_part
def move(parameters: Parameters, moved: Moved, size: float) -> None:
    """Go a step along the directions, in place, and back into the parameters' ranges."""
    phases, slopes, cut_weights = parameters
    for j in range(len(slopes)):
        slope = slopes[j] + size * moved.slope_steps[j]
        if phases[j] == 0:
            slopes[j] = min(max(slope, 0.0), 1.0)
            weight = cut_weights[j] + size * moved.cut_weight_steps[j]
            cut_weights[j] = min(max(weight, 0.0), 1.0)
        else:
            slopes[j] = max(slope, 0.0)


class Climb(NamedTuple):
    """The state of an ascent: its moments, and the parts of them that are left from their start."""

    moved: Moved
    left: Floats


def climb_from(neurons: int) -> Climb:
    """Return the state at the start of an ascent."""
    moments = Moments(np.zeros(neurons), np.zeros(neurons))
    weights = Moments(np.zeros(neurons), np.zeros(neurons))
    return Climb(Moved(moments, weights, np.zeros(neurons), np.zeros(neurons)), np.ones(2))


# The same for kernels.
start_climb = kernel_part(climb_from)


@kernel_part
def climb_step(
    relaxation: NetworkRelaxation,
    parameters: Parameters,
    climb: Climb,
    size: float,
    missing: float,
    workspace: Workspace,
) -> float:
    """Go one step from the parameters of the last pass, in place; return its size.

    Parameters
    ----------
    missing
        By how much the last pass's bound was too small.
    """
    evaluate_lines(relaxation, parameters, workspace)
    climb.left[0] *= CONSTANTS.mean_decay
    climb.left[1] *= CONSTANTS.square_decay
    gain = directions(relaxation, parameters, workspace, climb.moved, climb.left[0], climb.left[1])
    if gain > 0.0:
        size = min(size, CONSTANTS.aim * missing / gain)
    move(parameters, climb.moved, size)
    return size


@kernel
def average_minimiser(
    relaxation: NetworkRelaxation,
    specification: Specification,
    parameters: Parameters,
    ascent: AscentSettings,
    climb: Climb,
    workspace: Workspace,
    average: Floats,
) -> float:
    """Take some steps, and set the average of the points of the basis where the bounds are least.

    Averages of minimisers approach the optimum of the linear program whose dual is climbed.

    Returns
    -------
    float
        The bound before the last step: above `stop`, it is that of the parameters.
    """
    average[:] = 0.0
    value = -np.inf
    for _ in range(ascent.steps):
        value, _ = linear_bound(relaxation, specification, 0.0, parameters, workspace)
        if value > ascent.stop:
            break
        climb_step(relaxation, parameters, climb, ascent.rate, ascent.stop - value, workspace)
        average += workspace.point
    average /= ascent.steps
    return value


@kernel
def ascend(
    relaxation: NetworkRelaxation,
    specification: Specification,
    multiplier: float,
    parameters: Parameters,
    ascent: AscentSettings,
    workspace: Workspace,
) -> tuple[float, float, float, float]:
    """Maximise the bound of a specification over the parameters, in place.

    Parameters
    ----------
    multiplier
        Multiplier of the specification's assumed row at the start; 0: it stays so.

    Returns
    -------
    tuple
        The fields of an `OptimisedBound`, the best one; `parameters` and `workspace` hold what
        belongs to it.
    """
    m = len(relaxation.rows.offset)
    _, slopes, cut_weights = parameters
    climb = start_climb(m)
    multiplier_moments = Moments(np.zeros(1), np.zeros(1))
    adaptable = multiplier > 0.0
    best_slopes, best_weights = slopes.copy(), cut_weights.copy()
    best_multiplier = multiplier
    best, constant, at_best = -np.inf, 0.0, False
    for step in range(ascent.steps + 1):
        value, constant = linear_bound(relaxation, specification, multiplier, parameters, workspace)
        at_best = value > best
        if at_best:
            best = value
            copy(slopes, best_slopes)
            copy(cut_weights, best_weights)
            best_multiplier = multiplier
        if step == ascent.steps or best > ascent.stop:
            break
        size = climb_step(
            relaxation, parameters, climb, ascent.rate * CONSTANTS.step_decay**step,
            ascent.stop - value, workspace,
        )  # fmt: skip
        if adaptable:
            assumed = specification.assumed
            g = dot(assumed.row, workspace.point) + assumed.offset
            mean, root = adam(multiplier_moments, 0, g, climb.left[0], climb.left[1])
            multiplier += size * max(multiplier, CONSTANTS.least_multiplier) * mean / root
            multiplier = max(multiplier, 0.0)
    if not at_best:
        copy(best_slopes, slopes)
        copy(best_weights, cut_weights)
        best, constant = linear_bound(
            relaxation, specification, best_multiplier, parameters, workspace
        )
    radius = root_radius(workspace.coefficients, relaxation.box, constant)
    evaluate_lines(relaxation, parameters, workspace)
    return best, best_multiplier, constant, radius


# The same for Python to call.
optimise = named(OptimisedBound)(ascend)
