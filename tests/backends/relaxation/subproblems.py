"""Subproblems of random perceptrons, for the tests of the relaxation."""

import numpy as np
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.relaxation import kernels
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.kernels import Parameters
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.bounds import Boxes, pre_activation_bounds
from graphprune.bounds.certify import margin_rows
from graphprune.region import LINF, NORMS, Ball
from graphprune.testing.arrays import points
from tests.drawn import perceptrons
from tests.oracles import Perceptron

SHAPES = ([2, 6, 2], [3, 5, 5, 2], [4, 6, 4, 4, 3])
RADIUS = st.just(0.3)
# Of parameters and samples, for what the drawn subproblem is asked.
seeds = st.integers(0, 1000)


def subproblem(seed: int, widths: list[int], radius: float) -> Subproblem:
    """The first margin of a random perceptron on a random ball."""
    rng = np.random.default_rng(seed)
    network = gp.from_proto(Perceptron.random(rng, widths).model())
    return first_margin(network, Ball(rng.uniform(0.2, 0.8, network.input_shape), radius))


@st.composite
def subproblems(
    draw: st.DrawFn, *widths: list[int], radii: st.SearchStrategy[float] = RADIUS
) -> Subproblem:
    """The first margin of a perceptron of one of these widths on a ball of any norm."""
    network = gp.from_proto(draw(perceptrons(*(widths or SHAPES))).model())
    norm = draw(st.sampled_from([LINF, *NORMS.values()]))
    return first_margin(network, Ball(draw(points(*network.input_shape)), draw(radii), norm=norm))


def first_margin(network: gp.Network, ball: Ball) -> Subproblem:
    bounds = bounds_of(pre_activation_bounds(network, Boxes.of(ball)))
    return Subproblem.of(CondensedRegion.of(network, ball, bounds), margin_rows(network, 0)[0])


def basis_at(case: Subproblem, x: np.ndarray) -> np.ndarray:
    """Inputs and the condensed network's neurons there."""
    v = np.concatenate([x.reshape(-1), np.zeros(case.neurons)])
    kernels.evaluate_network(case.rows, v)
    return v


def value_at(case: Subproblem, v: np.ndarray) -> float:
    goal = case.specification.goal
    return float(goal.row @ v + goal.offset)


def some_parameters(case: Subproblem, rng: np.random.Generator) -> Parameters:
    """Any parameters in range, with some neurons split."""
    m = case.neurons
    phases = rng.choice([0, 0, 0, 1, -1], m).astype(np.int8)
    slopes = np.where(phases == 0, rng.uniform(0, 1, m), rng.exponential(1, m))
    return Parameters(phases, slopes, np.zeros(m))
