"""A case as a linear program: what its relaxation proves at best, and leaves.

Where much is split, few steps of the ascent are far from the relaxation's optimum, because the
multipliers of splits have no natural size; the program's duals are there at once. A case that
splitting does not help any more is decided by programs on smaller and smaller balls.
"""

from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.arrays import region_of
from graphprune.backends.relaxation.linear_program import Program, Solution, mixes, slopes
from graphprune.backends.relaxation.specification import Target
from graphprune.region import Ball

Floats = NDArray[np.float64]

# Newton's steps on the radius of a leaf.
STEPS = 12
# Steps of the ascent, and their size, where a program has no point: its multipliers grow without
# an end, and need to as far as the proof asks.
RAYS, RAY_RATE = 400, 1.0


@dataclass(frozen=True, eq=False)
class Leaf:
    """What a linear program says about a case.

    Attributes
    ----------
    closed
        Proven: nothing adversarial on the ball.
    point
        Inputs at the least radius where the relaxation has a point with margin <= 0.
    inner
        Inputs with the least margin on the whole ball: not only touching the boundary.
    neuron
        Unsplit neuron that the relaxation is wrong about there, or None: then `point` is
        adversarial, up to rounding.
    radius
        Proven: nothing adversarial is nearer.
    proof
        The parameters that prove this.
    stopped
        The deadline came first: nothing is known of what is left of the case.
    """

    closed: bool
    point: Floats | None
    inner: Floats | None
    neuron: int | None
    radius: float
    proof: "Proof"
    stopped: bool = False


@dataclass(frozen=True, eq=False)
class Proof:
    """Parameters of the kernels, and what they prove of a case.

    Attributes
    ----------
    bound, radius
        Of the margin on the whole ball; nothing adversarial is nearer.
    theta, mix
        As in :mod:`graphprune.backends.relaxation.kernels`.
    """

    bound: float
    radius: float
    theta: Floats
    mix: Floats


def relax(target: Target, state: NDArray[np.int8], deadline: float = np.inf) -> Proof | None:
    """The best bound of a case's relaxation; None where HiGHS gives up, or at the deadline."""
    program = Program(target)
    program.split(state)
    found = program.solve(deadline - monotonic())
    return None if found is None else _proof(target, state, found)


def _proof(target: Target, state: NDArray[np.int8], found: Solution) -> Proof:
    """What a program's duals prove."""
    m, size = target.neurons, target.basis
    a, v, lam, pi = np.empty(size), np.empty(size), np.empty(m), np.empty(m)
    net = (target.rows, target.planes, target.region, target.goal)
    if not np.isfinite(found.value):
        theta, mix = np.where(state == 0, target.theta, 1.0), np.zeros(m)
        bound, _, _, radius = kernels.optimise(
            *net, 0.0, False, state, theta, mix, RAYS, RAY_RATE, 0.0, a, v, lam, pi, np.empty(m)
        )
    else:
        theta, mix = slopes(found, state), mixes(found)
        bound, constant = kernels.bound_once(*net, 0.0, state, theta, mix, a, v, lam, pi)
        radius = kernels.root(a, target.region, constant, 0.0)
    return Proof(bound, radius, theta, mix)


def solve_leaf(target: Target, state: NDArray[np.int8], deadline: float = np.inf) -> Leaf:
    """Solve a case's relaxation: first on the whole ball, then at the radius it proves.

    Past the `deadline`, on the clock of :func:`time.monotonic`, it is what was found by then.
    """
    program = Program(target)
    program.split(state)
    m, size = target.neurons, target.basis
    point, inner, hidden = None, None, np.zeros(m)
    proof = Proof(-np.inf, 0.0, target.theta, np.zeros(m))
    for _ in range(STEPS):
        found = program.solve(deadline - monotonic())
        if found is None or not np.isfinite(found.value):
            nothing = np.zeros(m)
            ray = _proof(target, state, Solution(np.inf, np.zeros(size), *(nothing,) * 4))
            closed, over = ray.bound > 0.0, found is None and monotonic() >= deadline
            radius = max(proof.radius, ray.radius)
            return Leaf(closed, point, inner, None, radius, ray, over and not closed)
        better = _proof(target, state, found)
        if better.bound > 0.0:
            return Leaf(True, None, None, None, target.ball.radius, better)
        point, hidden = found.basis[: target.inputs], found.basis[-m:] if m else hidden
        inner = point if inner is None else inner
        if better.radius <= proof.radius * (1.0 + 1e-9):
            break
        proof = better
        near = Ball(target.ball.center, proof.radius * (1 + 1e-7), target.ball.domain)
        program.move(region_of(near))
    true = np.concatenate([point, np.zeros(m)]) if point is not None else np.zeros(size)
    kernels.evaluate(target.rows, true)
    wrong = np.where(state == 0, np.abs(hidden - true[target.inputs :]), 0.0)
    neuron = int(np.argmax(wrong)) if m and wrong.max() > 1e-7 else None
    radius = proof.radius
    if neuron is None:
        nearest = _nearest(target, state, deadline)
        if nearest is not None and nearest[0] > radius:
            radius, point = nearest
    return Leaf(False, point, inner, neuron, radius, proof)


def _nearest(
    target: Target, state: NDArray[np.int8], deadline: float
) -> tuple[float, Floats] | None:
    """A proven radius of a case, and its nearest inputs with margin <= 0.

    Where the margin does not change (classes that are equal while some neurons are off), its
    minimum says nothing about the radius: what is far is the case.
    """
    program = Program(target)
    program.split(state)
    found = program.nearest(target.region.center, deadline - monotonic())
    if found is None:
        return None
    solution, weight = found
    m, size = target.neurons, target.basis
    goal = target.goal
    nothing = goal._replace(
        row=np.zeros(size), offset=0.0, error=0.0,
        cut=goal.row, cut_offset=goal.offset, cut_error=goal.error,
    )  # fmt: skip
    a = np.empty(size)
    # On a ball where weight * margin is proven positive in this case, the margin is.
    _, constant = kernels.bound_once(
        target.rows, target.planes, target.region, nothing, weight, state,
        slopes(solution, state), mixes(solution), a, np.empty(size), np.empty(m), np.empty(m),
    )  # fmt: skip
    radius = kernels.root(a, target.region, constant, 0.0)
    return radius, solution.basis[: target.inputs]
