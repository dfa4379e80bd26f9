"""Spectral norms: never below the true one, and not far above it."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.ir.network import is_affine_operator
from graphprune.operators import Conv, spectral
from graphprune.operators.spectral import convolution_norm, matrix_norm
from graphprune.transforms.matrix import matrices
from tests.operators.test_operators import EXAMPLES

# What rounding may make of an exact bound.
EXACT = 1.0 - 1e-12


@pytest.mark.parametrize("deadline", [0.0, inf])
def test_operators_say_at_least_their_norm(deadline: float) -> None:
    said = 0
    for op, shapes in EXAMPLES:
        own = getattr(op, "spectral_norm", None)
        if own is not None and is_affine_operator(op):
            true = np.linalg.norm(matrices(op, shapes)[0].toarray(), 2)
            assert own(deadline) >= EXACT * true
            said += 1
    assert said > 5


@given(st.data())
def test_norms_of_matrices(data: st.DataObject) -> None:
    m, n = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    seed, low_rank = data.draw(st.integers(0, 99)), data.draw(st.booleans())
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(m, n)) * 10.0 ** rng.integers(-3, 4)
    if low_rank:
        weight = weight[:, :1] @ weight[:1]
    true = float(np.linalg.norm(weight, 2))
    assert EXACT * true <= matrix_norm(weight) <= 1.1 * true
    assert matrix_norm(weight, 0.0) >= EXACT * true


def test_norms_in_single_precision_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(0).normal(size=(60, 90))
    true = float(np.linalg.norm(weight, 2))
    monkeypatch.setattr(spectral, "SINGLE", 1)
    assert EXACT * true <= matrix_norm(weight) <= 1.1 * true
    monkeypatch.setattr(spectral, "ROWS", 16)
    assert EXACT * true <= matrix_norm(weight) <= 1.1 * true
    assert true < matrix_norm(weight, 0.0) <= 3.0 * true


@given(st.data())
def test_norms_of_convolutions(data: st.DataObject) -> None:
    """Exact grids of frequencies and coarse ones, against the whole matrix."""
    groups, into, out = (data.draw(st.integers(1, 3)) for _ in range(3))
    rank = data.draw(st.integers(1, 2))
    taps = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    sides = [data.draw(st.integers(tap, 7)) for tap in taps]
    pads = [data.draw(st.integers(0, tap - 1)) for tap in taps] * 2
    strides = tuple(data.draw(st.integers(1, 2)) for _ in range(rank))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    kernel = rng.normal(size=(groups, out, into, *taps))
    conv = Conv(
        kernel.reshape(groups * out, into, *taps), np.zeros(groups * out), (groups * into, *sides),
        strides, tuple(pads), (1,) * rank, groups,
    )  # fmt: skip
    true = float(np.linalg.norm(conv.matrices(conv.in_shape)[0].toarray(), 2))
    for finer in (spectral.FINER, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spectral, "FINER", finer)
            assert convolution_norm(kernel, sides) >= EXACT * true
    assert convolution_norm(kernel, sides, 0.0) >= EXACT * true


def test_a_large_image_has_nearly_the_norm_of_all_frequencies() -> None:
    kernel = np.random.default_rng(0).normal(size=(1, 3, 2, 3, 3))
    conv = Conv(kernel[0], np.zeros(3), (2, 24, 24), (1, 1), (1, 1, 1, 1), (1, 1), 1)
    true = float(np.linalg.norm(conv.matrices(conv.in_shape)[0].toarray(), 2))
    assert convolution_norm(kernel, (24, 24)) <= 1.15 * true
