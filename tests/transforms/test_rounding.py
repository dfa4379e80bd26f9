"""Bounds on the rounding of float32 sums, against decimal arithmetic of fifty digits."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.transforms.rounding import UNIT, gamma


@given(st.integers(1, 400_000_000))
def test_gamma_covers_the_error_and_the_sum_that_it_is_multiplied_with(roundings: int) -> None:
    """The sum of absolute values may have been rounded down as often as the sum itself."""
    with localcontext() as context:
        context.prec = 50
        unit = Decimal(UNIT)
        error = (1 + unit) ** roundings - 1
        smaller = (1 - unit) ** roundings
        assert Decimal(gamma(roundings)) * smaller >= error


@given(st.integers(0, 100_000_000), st.integers(1, 1000))
def test_gamma_grows(roundings: int, more: int) -> None:
    assert gamma(roundings) < gamma(roundings + more) < np.inf


def test_ones_added_one_by_one_stay_behind_by_no_more_than_the_bound() -> None:
    count = 3 * 2**24
    found = float(np.cumsum(np.ones(count, np.float32), dtype=np.float32)[-1])
    assert found == 2**24
    assert count - found <= gamma(count) * found


def test_sums_beyond_the_range_of_float32_are_refused() -> None:
    with pytest.raises(OverflowError, match="too many for a float32 bound"):
        gamma(2**30)
