"""Node programs on boxes of unequal sides: a smaller radius never leaves the box."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import graphprune as gp
from graphprune.backends.relaxation.condensed import bounds_of
from graphprune.backends.relaxation.node_lp import solve_node
from graphprune.backends.relaxation.subproblem import CondensedRegion, Subproblem
from graphprune.bounds import Boxes, pre_activation_bounds
from tests.oracles import Perceptron


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    hidden=st.lists(st.integers(2, 5), min_size=1, max_size=2),
    sides=st.lists(st.sampled_from([0.0, 0.03, 0.2, 1.0]), min_size=2, max_size=4),
)
def test_points_of_node_programs_lie_in_the_box(
    seed: int, hidden: list[int], sides: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    net = Perceptron.random(rng, [len(sides), *hidden, 2])
    center, width = rng.normal(0, 1, len(sides)), np.array(sides)
    box = gp.Box(center - width, center + width)
    network = gp.from_proto(net.model())
    layers = pre_activation_bounds(network, Boxes.of(box))
    region = CondensedRegion.of(network, box, bounds_of(layers))
    target = Subproblem.of(region, rng.normal(0, 1, 2))
    state = (rng.integers(-1, 2, target.neurons) * rng.integers(0, 2)).astype(np.int8)
    leaf = solve_node(target, state)
    for x in (leaf.inner, leaf.point):
        if x is not None:
            assert np.all((x >= box.lower - 1e-6) & (x <= box.upper + 1e-6))
    # Nothing of the split case is unsafe nearer than the radius proven.
    x = rng.uniform(box.lower, box.upper, (200, len(sides)))
    v = np.hstack([x, np.zeros((len(x), target.neurons))])
    for point in v:
        z = pre_activations(target, point)
        mine = np.all(z[state == 1] >= 0.0) and np.all(z[state == -1] <= 0.0)
        margin = float(target.specification.goal.row @ point + target.specification.goal.offset)
        near = np.max(np.abs(point[: len(sides)] - box.center))
        assert not (mine and margin < -1e-9 and (leaf.closed or near < leaf.radius - 1e-9))


def pre_activations(target: Subproblem, v: np.ndarray) -> np.ndarray:
    """The unstable neurons' inputs at the network's own values, which are left in `v`."""
    rows, z = target.rows, np.zeros(target.neurons)
    for j in range(target.neurons):
        part = slice(rows.indptr[j], rows.indptr[j + 1])
        z[j] = rows.values[part] @ v[rows.indices[part]] + rows.offset[j]
        v[target.inputs + j] = max(z[j], 0.0)
    return z
