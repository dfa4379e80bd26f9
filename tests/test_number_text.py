"""Distances as people read them."""

from hypothesis import given
from hypothesis import strategies as st

from graphprune.number_text import number_text


def test_small_distances_keep_their_digits() -> None:
    assert [number_text(v) for v in (0.0, 0.12345678, 0.001, 0.00064321, 6.43e-13)] == [
        "0.00000", "0.12346", "0.00100", "6.43e-04", "6.43e-13",
    ]  # fmt: skip


@given(st.floats(1e-300, 1e6))
def test_what_is_written_is_the_distance_to_one_in_a_hundred(value: float) -> None:
    assert abs(float(number_text(value)) - value) <= 0.01 * value
