"""Rows as runs are the same matrix, and every run's columns follow on each other."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from graphprune.backends.relaxation.runs import GAP, as_runs


@given(
    st.lists(st.sets(st.integers(0, 39), max_size=20), max_size=6),
    st.integers(0, 3),
)
def test_runs_hold_the_matrix(rows: list[set[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    dense = np.zeros((len(rows), 40))
    for row, columns in zip(dense, rows, strict=True):
        row[list(columns)] = rng.uniform(1, 2, len(columns))
    found = as_runs(sparse.csr_array(dense))
    again = sparse.csr_array((found.values, found.indices, found.indptr), shape=dense.shape)
    np.testing.assert_array_equal(again.toarray(), dense)
    for j in range(len(rows)):
        covered: list[int] = []
        for r in range(found.row_runs[j], found.row_runs[j + 1]):
            columns = found.indices[found.runs[r] : found.runs[r + 1]].tolist()
            assert columns == list(range(columns[0], columns[-1] + 1))
            assert not covered or columns[0] > covered[-1] + GAP + 1
            covered += columns
        part = slice(found.indptr[j], found.indptr[j + 1])
        assert covered == found.indices[part].tolist()
        assert not covered or (found.values[part][[0, -1]] != 0).all()
