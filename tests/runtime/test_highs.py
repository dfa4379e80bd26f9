"""HiGHS on programs that it refuses or loses: no answer, instead of empty arrays."""

import numpy as np
import pytest
from scipy import sparse

from graphprune.runtime.highs import INFINITY, Solver


def program(*blocks: list[list[float]]) -> Solver:
    """min x + y over rows . (x, y) >= 1, x and y in [0, 10]."""
    highs = Solver()
    highs.addVars(2, np.zeros(2), np.full(2, 10.0))
    highs.changeColsCost(2, np.arange(2, dtype=np.int32), np.ones(2))
    for block in blocks:
        rows = sparse.csr_array(np.array(block))
        highs.add_matrix(rows, np.ones(len(block)), np.full(len(block), INFINITY))
    return highs


def test_an_optimum_has_a_number_for_every_column_and_row() -> None:
    highs = program([[1.0, 0.0]], [[0.0, 2.0]])
    highs.run_for(INFINITY)
    found = highs.optimum()
    assert found is not None
    assert found.value == pytest.approx(1.5)
    np.testing.assert_allclose(found.columns, [1.0, 0.5])
    np.testing.assert_allclose(found.duals, [1.0, 0.5])
    assert found.reduced.shape == (2,)


@pytest.mark.parametrize("entry", [1e15, 1e300, np.inf, np.nan])
def test_a_program_with_a_row_refused_has_no_answer(entry: float) -> None:
    highs = program([[1.0, 0.0]], [[entry, 2.0]])
    highs.run_for(1.0)
    assert highs.optimum() is None
    assert not highs.infeasible


def test_without_a_point_or_time_there_is_no_optimum() -> None:
    highs = program([[0.01, 0.0]])
    highs.run_for(INFINITY)
    assert highs.infeasible
    assert highs.optimum() is None
