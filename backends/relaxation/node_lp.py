"""A node as a linear program: what its relaxation proves at best, and leaves.

Where much is split, few steps of the ascent are far from the relaxation's optimum, because the
multipliers of splits have no natural size; the program's duals are there at once. A node that
splitting does not help any more is decided by programs on smaller and smaller balls.
"""

from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import box_of
from graphprune.backends.relaxation.kernels import (
    AscentSettings,
    CondensedRows,
    LinearRow,
    NetworkRelaxation,
    Parameters,
    Specification,
)
from graphprune.backends.relaxation.linear_program import (
    LPSolution,
    RelaxationProgram,
    parameters_of,
)
from graphprune.backends.relaxation.subproblem import Subproblem

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NodeLPSettings:
    """Constants of node LPs.

    Attributes
    ----------
    radii
        Newton's steps on the radius of a node.
    ray_steps, ray_rate
        Steps of the ascent, and their size, where a program has no point: its multipliers grow
        without an end, and need to as far as the proof asks.
    wrong
        A hidden value that the relaxation is wrong about by less is right, as far as HiGHS can
        tell.
    """

    radii: int = 12
    ray_steps: int = 400
    ray_rate: float = 1.0
    wrong: float = 1e-7


SETTINGS = NodeLPSettings()


@dataclass(frozen=True, eq=False)
class DualProof:
    """Parameters of the kernels, and what they prove of a node.

    Attributes
    ----------
    bound, radius
        The row's least value on the whole ball; nothing with a row <= 0 is nearer.
    parameters
        With the node's phases.
    """

    bound: float
    radius: float
    parameters: Parameters


@dataclass(frozen=True, eq=False)
class NodeAnswer:
    """The answer of linear programs about a node.

    Attributes
    ----------
    closed
        Proven: the row is positive on the ball.
    point
        Inputs at the least radius where the relaxation has a point with a row <= 0.
    inner
        Inputs with the least row on the whole ball: not only touching the boundary.
    neuron
        Unsplit neuron that the relaxation is wrong about there, or None: then the row is 0 or less
        at `point`, up to rounding.
    radius
        Proven: no point with a row <= 0 is nearer.
    proof
        The parameters that prove this.
    stopped
        The deadline came first: nothing is known of what is left of the node.
    """

    closed: bool
    point: Floats | None
    inner: Floats | None
    neuron: int | None
    radius: float
    proof: DualProof
    stopped: bool = False


def relax(
    relaxation: NetworkRelaxation, specification: Specification, parameters: Parameters,
    deadline: float = np.inf,
) -> DualProof | None:  # fmt: skip
    """Return the best bound of a node's relaxation; None where HiGHS gives up or is stopped.

    Parameters
    ----------
    parameters
        The node's phases, and slopes to start from where the relaxation has no point.
    """
    program = RelaxationProgram(relaxation, specification)
    program.split(parameters.phases)
    found = program.solve(deadline - monotonic())
    return None if found is None else _proof(relaxation, specification, parameters, found)


def _proof(
    relaxation: NetworkRelaxation,
    specification: Specification,
    start: Parameters,
    found: LPSolution,
) -> DualProof:
    """Prove what a program's duals say."""
    phases, box = start.phases, relaxation.box
    workspace = kernels.workspace_for(relaxation.rows)
    net = relaxation, specification, 0.0
    if not np.isfinite(found.value):
        slopes = np.where(phases == 0, start.slopes, 1.0)
        parameters = Parameters(phases, slopes, np.zeros(len(phases)))
        ascent = AscentSettings(SETTINGS.ray_steps, SETTINGS.ray_rate, 0.0)
        ray = kernels.optimise(*net, parameters, ascent, workspace)
        return DualProof(ray.value, ray.radius, parameters)
    parameters = parameters_of(found, phases)
    bound, constant = kernels.linear_bound(*net, parameters, workspace)
    radius = kernels.root_radius(workspace.coefficients, box, constant)
    return DualProof(bound, radius, parameters)


def solve_node(case: Subproblem, phases: NDArray[np.int8], deadline: float = np.inf) -> NodeAnswer:
    """Solve a node's relaxation: first on the whole ball, then at the radius it proves.

    Past the `deadline`, on the clock of :func:`time.monotonic`, it is what was found by then.
    """
    program = RelaxationProgram(case.relaxation, case.specification)
    program.split(phases)
    m, n = case.neurons, case.inputs
    point, inner, hidden = None, None, np.zeros(m)
    start = case.parameters._replace(phases=phases, cut_weights=np.zeros(m))
    net = case.relaxation, case.specification, start
    proof = DualProof(-np.inf, 0.0, start)
    for _ in range(SETTINGS.radii):
        found = program.solve(deadline - monotonic())
        if found is None or not np.isfinite(found.value):
            ray = _proof(*net, LPSolution.infeasible(n, m))
            closed, over = ray.bound > 0.0, found is None and monotonic() >= deadline
            radius = max(proof.radius, ray.radius)
            # No point, as far as HiGHS can tell, and no proof of that yet: smaller cases have one.
            neuron = None if closed or over or found is None else _widest(case.rows, phases)
            return NodeAnswer(closed, point, inner, neuron, radius, ray, over and not closed)
        better = _proof(*net, found)
        if better.bound > 0.0:
            return NodeAnswer(True, None, None, None, case.ball.radius, better)
        point, hidden = found.basis[:n], found.basis[-m:] if m else hidden
        inner = point if inner is None else inner
        if better.radius <= proof.radius * (1.0 + 1e-9):
            break
        proof = better
        program.move(box_of(case.ball.shrunk(proof.radius * (1 + 1e-7))))
    there = np.zeros(n) if point is None else point
    neuron = most_wrong(case.rows, np.concatenate([there, hidden]), phases)
    radius = proof.radius
    if neuron is None:
        nearest = _nearest(case, phases, deadline)
        if nearest is not None and nearest[0] > radius:
            radius, point = nearest
    return NodeAnswer(False, point, inner, neuron, radius, proof)


def _widest(rows: CondensedRows, phases: NDArray[np.int8]) -> int | None:
    """Return the unsplit neuron with the most room on both sides of 0, if any."""
    room = np.where(phases == 0, np.minimum(-rows.lower, rows.upper), 0.0)
    return int(np.argmax(room)) if np.any(room > 0.0) else None


def most_wrong(rows: CondensedRows, basis: Floats, phases: NDArray[np.int8]) -> int | None:
    """Return the unsplit neuron whose hidden value a relaxation is most wrong about, if any."""
    true = basis.copy()
    kernels.evaluate_network(rows, true)
    wrong = np.where(phases == 0, np.abs(basis - true)[rows.inputs :], 0.0)
    return int(np.argmax(wrong)) if len(wrong) and wrong.max() > SETTINGS.wrong else None


def _nearest(
    case: Subproblem, phases: NDArray[np.int8], deadline: float
) -> tuple[float, Floats] | None:
    """Return a proven radius of a node, and its nearest inputs with a row <= 0.

    Where the row does not change (classes that are equal while some neurons are off), its minimum
    says nothing about the radius: what is far is the node.
    """
    program = RelaxationProgram(case.relaxation, case.specification)
    program.split(phases)
    found = program.nearest(case.box.center, deadline - monotonic())
    if found is None:
        return None
    solution, weight = found
    workspace = kernels.workspace_for(case.rows)
    nothing = LinearRow(np.zeros(case.basis), 0.0, 0.0)
    # On a ball where weight * row is proven positive in this node, the row is.
    _, constant = kernels.linear_bound(
        case.relaxation, Specification(nothing, case.specification.goal), weight,
        parameters_of(solution, phases), workspace,
    )  # fmt: skip
    radius = kernels.root_radius(workspace.coefficients, case.box, constant)
    return radius, solution.basis[: case.inputs]
