"""A case that splitting does not help any more: a linear program, or one more split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.search import kernels
from graphprune.backends.search.form import region_of
from graphprune.backends.search.program import Program, slopes
from graphprune.backends.search.target import Target
from graphprune.ir import Ball

Floats = NDArray[np.float64]

# Newton's steps on the radius of a leaf.
STEPS = 12


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
    theta
        The slopes of the proof.
    """

    closed: bool
    point: Floats | None
    inner: Floats | None
    neuron: int | None
    radius: float
    theta: Floats


def solve_leaf(target: Target, state: NDArray[np.int8]) -> Leaf:
    """Solve a case's relaxation: first on the whole ball, then at the radius it proves."""
    program = Program(target)
    program.split(state)
    m, size = target.neurons, target.condensed.basis
    a, v, lam, pi = np.empty(size), np.empty(size), np.empty(m), np.empty(m)
    mix = np.zeros(m)
    theta = target.theta
    radius, point, inner, hidden = 0.0, None, None, np.zeros(m)
    for _ in range(STEPS):
        found = program.solve()
        if found is None or not np.isfinite(found.value):
            # Infeasible: multipliers without an end; the ascent finds them as far as needed.
            grown = np.where(state == 0, theta, 1.0)
            bound, _, _, _ = kernels.optimise(
                target.rows, target.planes, target.region, target.goal, 0.0, False,
                state, grown, mix.copy(), 400, 1.0, 0.0, a, v, lam, pi, np.empty(m),
            )  # fmt: skip
            return Leaf(bound > 0.0, point, inner, None, radius, grown)
        theta = slopes(found, state)
        bound, constant = kernels.bound_once(
            target.rows, target.planes, target.region, target.goal, 0.0, state, theta, mix,
            a, v, lam, pi,
        )  # fmt: skip
        if bound > 0.0:
            return Leaf(True, None, None, None, target.ball.radius, theta)
        grown_radius = kernels.root(a, target.region, constant, 0.0)
        point, hidden = found.basis[: target.condensed.inputs], found.basis[-m:] if m else hidden
        inner = point if inner is None else inner
        if grown_radius <= radius * (1.0 + 1e-9):
            break
        radius = grown_radius
        program.move(region_of(Ball(target.ball.center, radius * (1 + 1e-7), target.ball.domain)))
    true = np.concatenate([point, np.zeros(m)]) if point is not None else np.zeros(size)
    kernels.evaluate(target.rows, true)
    wrong = np.where(state == 0, np.abs(hidden - true[target.condensed.inputs :]), 0.0)
    neuron = int(np.argmax(wrong)) if m and wrong.max() > 1e-7 else None
    return Leaf(False, point, inner, neuron, radius, theta)
