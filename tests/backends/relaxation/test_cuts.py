"""Planes mixed from cuts."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.backends.relaxation.cuts import with_planes
from graphprune.backends.relaxation.kernels.planes import strongest_cut
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.pipeline.verify import samples_in
from graphprune.runtime.resources import Resources
from tests.backends.relaxation.subproblems import (
    basis_at,
    seeds,
    subproblems,
    value_at,
)
from tests.conftest import Floor


@given(subproblems(radii=st.floats(0.05, 0.5)), seeds)
def test_planes_from_cuts_lie_above_their_neurons(
    floor: Floor, case: Subproblem, seed: int
) -> None:
    case = case.optimised(stop=np.inf)
    before = case.bound
    case, _ = with_planes(case, Resources(), 4)
    assert case.bound >= before - 1e-6
    z = case.rows
    for x in samples_in(case.ball, 40, seed):
        v = basis_at(case, x)
        assert value_at(case, v) >= case.bound
        for j in np.flatnonzero(case.planes.has):
            floor.checked(1, least=100)
            part = slice(z.indptr[j], z.indptr[j + 1])
            plane = case.planes.values[part] @ v[z.indices[part]] + case.planes.offset[j]
            assert v[case.inputs + j] <= plane + case.planes.error[j]


@given(subproblems(radii=st.floats(0.05, 0.5)), seeds, st.integers(0, 5))
def test_every_cut_holds_whatever_point_it_was_made_for(
    floor: Floor, case: Subproblem, seed: int, neuron: int
) -> None:
    """Points far from every minimiser make cuts with other subsets: all are above the neuron."""
    if not case.neurons:
        return
    j, z = neuron % case.neurons, case.rows
    part = slice(z.indptr[j], z.indptr[j + 1])
    rng = np.random.default_rng(seed)
    values = np.zeros(case.basis)
    for _ in range(8):
        point = rng.normal(0, 1, case.basis)
        lowest, offset = strongest_cut(z, case.box, j, point, values)
        plane = values[: part.stop - part.start]
        assert lowest == pytest.approx(plane @ point[z.indices[part]] + offset, abs=1e-9)
        for x in samples_in(case.ball, 20, seed):
            v = basis_at(case, x)
            floor.checked(1, least=100)
            assert v[case.inputs + j] <= plane @ v[z.indices[part]] + offset + 1e-12


@settings(max_examples=20)
@given(subproblems(radii=st.floats(0.05, 0.5)), seeds)
def test_cuts_hold_at_all_corners_of_both_phases(floor: Floor, case: Subproblem, seed: int) -> None:
    """What a neuron of the first layer is above its plane is largest at a corner of its box.

    Or where an edge between two of them meets z = 0.
    """
    # The corners of a box around another ball are outside it, and so are the neurons there.
    if case.box.ball is not None:
        return
    z, rng = case.rows, np.random.default_rng(seed)
    sides = list(zip(case.box.lower, case.box.upper, strict=True))
    corners = np.array(list(itertools.product(*sides)))
    places = range(len(corners))
    edges = [(a, b) for a in places for b in places if bin(a ^ b).count("1") == 1]
    values = np.zeros(case.basis)
    for j in np.flatnonzero(z.layer == 0).tolist():
        part = slice(z.indptr[j], z.indptr[j + 1])
        columns, w = z.indices[part], z.values[part]
        at = corners[:, columns] @ w + z.offset[j]
        meets = [
            corners[a] + at[a] / (at[a] - at[b]) * (corners[b] - corners[a])
            for a, b in edges
            if at[a] < 0.0 < at[b]
        ]
        points = np.array([*corners, *meets])[:, columns]
        here = np.maximum(points @ w + z.offset[j], 0.0)
        for _ in range(6):
            point = rng.uniform(-0.2, 1.2, case.basis)
            _, offset = strongest_cut(z, case.box, j, point, values)
            floor.checked(len(meets), least=20)
            assert np.all(here <= points @ values[: len(w)] + offset + 1e-12)


@settings(max_examples=30)
@given(subproblems(radii=st.floats(0.1, 0.5)), seeds)
def test_no_subset_has_a_lower_plane(floor: Floor, case: Subproblem, seed: int) -> None:
    """Compare with all subsets of rows with up to six numbers."""
    z, rng = case.rows, np.random.default_rng(seed)
    high = np.concatenate([case.box.upper, np.maximum(z.upper, 0.0)])
    low = np.concatenate([case.box.lower, np.maximum(z.lower, 0.0)])
    for j in range(case.neurons):
        part = slice(z.indptr[j], z.indptr[j + 1])
        w, columns = z.values[part], z.indices[part]
        if len(w) > 6:
            continue
        point = rng.uniform(low, high)
        values = np.zeros(case.basis)
        lowest, _ = strongest_cut(z, case.box, j, point, values)
        ends = np.stack([w * low[columns], w * high[columns]])
        least, largest, at = ends.min(0), ends.max(0), w * point[columns]
        floor.checked(1, least=20)
        for chosen in itertools.product([False, True], repeat=len(w)):
            own = np.array(chosen, bool)
            f = z.offset[j] + least[own].sum() + largest[~own].sum()
            inside = (at - least)[own].sum()
            other = at.sum() + z.offset[j] - z.lower[j]
            if f >= 0:
                cut = -z.lower[j] / (f - z.lower[j])
                value = cut * inside + (1 - cut) * other
            else:
                value = z.upper[j] / (z.upper[j] - f) * inside
            assert lowest <= value + 1e-9
