"""One backward pass over the condensed network: a linear bound, its minimum and its root."""

from graphprune.backends.relaxation.kernels.ball import ball_minimum, ball_root
from graphprune.backends.relaxation.kernels.box import box_minimum, box_root
from graphprune.backends.relaxation.kernels.neuron import relax_neuron, upper_line
from graphprune.backends.relaxation.kernels.rows import add_row, add_row_and_plane, row_value
from graphprune.backends.relaxation.kernels.types import (
    CondensedRows,
    Floats,
    NetworkRelaxation,
    NormBall,
    Parameters,
    RegionBox,
    Specification,
    Workspace,
)
from graphprune.runtime.jit import fast_part, kernel, kernel_part
from graphprune.runtime.loops import copy


@kernel_part
def backward(
    relaxation: NetworkRelaxation, parameters: Parameters, workspace: Workspace
) -> tuple[float, float]:
    """Push the workspace's coefficients down to the inputs, in place; (constant, error)."""
    rows, planes, _ = relaxation
    a = workspace.coefficients
    n = rows.inputs
    constant = 0.0
    error = 0.0
    for j in range(len(rows.offset) - 1, -1, -1):
        weight = parameters.cut_weights[j] if planes.has[j] else 0.0
        m, p, shift = relax_neuron(
            a[n + j], parameters.phases[j], parameters.slopes[j], weight,
            rows.lower[j], rows.upper[j],
        )  # fmt: skip
        constant += shift
        workspace.row_multipliers[j] = m
        workspace.plane_multipliers[j] = p
        if p != 0.0:
            constant += p * planes.offset[j] + m * rows.offset[j]
            error += abs(p) * planes.error[j] + abs(m) * rows.error[j]
            add_row_and_plane(rows, planes, j, m, p, a)
        elif m != 0.0:
            constant += m * rows.offset[j]
            error += abs(m) * rows.error[j]
            add_row(rows, j, m, a)
    return constant, error


@kernel_part
def minimum_in(
    coefficients: Floats, box: RegionBox, ball: NormBall | None, point: Floats
) -> tuple[float, float]:
    """Return the least value over box and ball of the inputs' part, and its error.

    Compiled for the one kind of region that it is called with.
    """
    if ball is None:
        return box_minimum(coefficients, box, point)
    return ball_minimum(coefficients, box, ball, point)


@kernel
def root_radius(coefficients: Floats, box: RegionBox, constant: float) -> float:
    """Return the radius at which a linear bound over the inputs reaches 0, from below."""
    return root_in(coefficients, box, box.ball, constant)


@kernel_part
def root_in(coefficients: Floats, box: RegionBox, ball: NormBall | None, constant: float) -> float:
    """Return the radius in the region's norm; compiled for the one kind of region."""
    if ball is None:
        return box_root(coefficients, box, constant)
    return ball_root(coefficients, box, ball, constant)


@kernel_part
def evaluate_lines(
    relaxation: NetworkRelaxation, parameters: Parameters, workspace: Workspace
) -> None:
    """Evaluate rows, planes and the lines chosen by the last pass at the inputs of the point."""
    rows, planes, _ = relaxation
    v = workspace.point
    n = rows.inputs
    for j in range(len(rows.offset)):
        c = workspace.coefficients[n + j]
        phase = parameters.phases[j]
        value = rows.offset[j] + row_value(rows, rows.values, j, v)
        plane = 0.0
        if phase == 0 and planes.has[j] and c < 0.0:
            plane = planes.offset[j] + row_value(rows, planes.values, j, v)
        workspace.pre_activations[j] = value
        workspace.plane_values[j] = plane
        if phase == 1:
            h = value
        elif phase == -1:
            h = 0.0
        elif c >= 0.0:
            h = parameters.slopes[j] * value
        else:
            h = upper_line(value, rows.lower[j], rows.upper[j])
            if planes.has[j]:
                h += parameters.cut_weights[j] * (plane - h)
        v[n + j] = h


@kernel
def evaluate_network(rows: CondensedRows, point: Floats) -> None:
    """Evaluate the network itself, on its region, at the inputs of a point: neurons into it."""
    n = rows.inputs
    for j in range(len(rows.offset)):
        point[n + j] = max(rows.offset[j] + row_value(rows, rows.values, j, point), 0.0)


@fast_part
def dot(row: Floats, v: Floats) -> float:
    """Return a product that is no more than a guide (no margin)."""
    total = 0.0
    for i in range(len(v)):
        total += row[i] * v[i]
    return total


@kernel
def linear_bound(
    relaxation: NetworkRelaxation,
    specification: Specification,
    multiplier: float,
    parameters: Parameters,
    workspace: Workspace,
) -> tuple[float, float]:
    """Bound a specification below over the region with given parameters.

    Returns
    -------
    (bound, constant)
        `constant` is that of the linear bound over the inputs, whose coefficients are left in the
        workspace. The rounding margin is taken off both.
    """
    goal, assumed = specification
    a = workspace.coefficients
    if multiplier != 0.0:
        for i in range(len(a)):
            a[i] = goal.row[i] + multiplier * assumed.row[i]
    else:
        copy(goal.row, a)
    constant, error = backward(relaxation, parameters, workspace)
    box = relaxation.box
    value, more = minimum_in(a, box, box.ball, workspace.point)
    constant += goal.offset + multiplier * assumed.offset
    error += goal.error + multiplier * assumed.error + more
    error += 1e-13 * (abs(constant) + abs(value))
    return constant + value - error, constant - error
