"""Planes from cuts, and the cuts that leave."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphprune.backends.relaxation.cuts import Cuts, with_planes
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


@given(subproblems([3, 8, 8, 2], [4, 9, 6, 6, 3], radii=st.just(0.4)))
def test_cuts_that_leave_change_no_optimum(floor: Floor, case: Subproblem) -> None:
    cuts, resources, values = Cuts(case), Resources(), []
    for _ in range(4):
        found = cuts.solve(resources)
        assert found is not None
        values.append(found.value)
        if not cuts.separate(found):
            break
        # What is kept, and the rows of the program, are the same cuts.
        kept = [(neuron, floor) for neurons, _, _, floor in cuts.cuts for neuron in neurons]
        owners = [neuron for neuron, _ in kept]
        floor.checked(len(kept), least=100)
        program = cuts.highs.getLp()
        assert program.num_row_ == 3 * cuts.m + len(owners)
        ceilings = -np.array([floor[neuron] for neuron, floor in kept])
        np.testing.assert_allclose(program.row_upper_[3 * cuts.m :], ceilings, atol=1e-12)
    # The minimum over fewer points, whatever left.
    assert np.all(np.diff(values) >= -1e-6 * (1.0 + np.abs(values[0])))
