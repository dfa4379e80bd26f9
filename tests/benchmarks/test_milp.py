"""The nearest points of mixed-integer programs, against a fine grid."""

import numpy as np
import pytest

from benchmarks.brute import lengths
from benchmarks.milp import Program
from graphprune.canonical import from_proto
from graphprune.runtime.reference import forward64
from tests.oracles import Perceptron


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("seed", range(4))
def test_nearest_points_are_as_near_as_a_grid_has_them(norm: str, seed: int) -> None:
    network = from_proto(Perceptron.random(np.random.default_rng(seed), [2, 5, 4, 3]).model())
    side = np.linspace(0, 1, 401)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    start = np.array([0.4, 0.6])
    label = int(forward64(network, start[None])[0].argmax())
    logits, program = forward64(network, grid)[0], Program.of(network, np.zeros(2), np.ones(2))
    for target in {0, 1, 2} - {label}:
        wins = logits[:, target] >= logits[:, label]
        point = program.nearest(start, label, target, norm)
        if point is None:
            assert not wins.any()
            continue
        there = forward64(network, point[None])[0][0]
        assert there[label] - there[target] < 1e-6
        found = lengths(point[None] - start, norm)[0]
        if wins.any():
            assert found <= lengths(grid[wins] - start, norm).min() + 1e-6
