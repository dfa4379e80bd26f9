"""The forward pass whose rounding is known."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphprune.bounds.rounded_pass import split_product
from graphprune.operators import Dense


@given(st.integers(0, 99), st.integers(1, 30))
def test_split_products_are_nearly_exact(seed: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    op = Dense(rng.normal(size=(3, width)) * 10.0 ** rng.integers(-3, 3), rng.normal(size=3))
    x = rng.normal(size=(1, width)) * 10.0 ** rng.integers(-3, 3, size=width)
    value, error = split_product(op, x, (width,))
    for k in range(3):
        terms = zip(op.weight[k].tolist(), x[0].tolist(), strict=True)
        exact = sum((Fraction(w) * Fraction(v) for w, v in terms), Fraction(float(op.bias[k])))
        assert abs(Fraction(float(value[0, k])) - exact) <= Fraction(float(error[k]))
    assert np.all(error <= 1e-15 * (np.abs(op.weight) @ np.abs(x[0]) + np.abs(op.bias)))
