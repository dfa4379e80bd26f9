"""Proven upper bounds of spectral norms: of matrices, and of convolutions by their symbols.

The largest eigenvalue of a Gram matrix G is at most m where the Cholesky factorisation of m I - G
runs to its end in floating point, but for a rounding term (Rump 2006, Verification of positive
definiteness, lemma 2.2); power iteration only finds a promising m.

A convolution is a part of the one on a torus that has room for its whole output, which the Fourier
transform makes block diagonal: one (out, in) matrix, the symbol, per frequency. On large images a
coarser grid of frequencies is enough: u* G(w) u is a trigonometric polynomial in w of degree d =
kernel - 1 for any fixed u, and at most 1 / cos(pi d / M) of its largest value on M points per axis
(Ehlich and Zeller 1964).
"""

from collections.abc import Iterator, Sequence
from math import cos, inf, pi, prod, sqrt
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Numbers of symbols held at a time; from so many multiplications on Gram matrices are single.
HELD, SINGLE = 1 << 22, 1 << 30
# Columns of one product of a Gram matrix: they bound its rounding error.
COLUMNS = 512
# Rows of the parts of a matrix whose norms, squared and added up, bound its own.
ROWS = 512
# Steps of power iteration on all matrices, and on the best ones; factors on what these say.
ALL_STEPS, BEST, BEST_STEPS, FIRST, MORE = 4, 4, 20, 1.02, 1.03
# Frequencies per axis and degree of a coarse grid, and how many times as many an exact one has at
# most.
COARSE, FINER = 8, 2
UNIT64, UNIT32 = 2.0**-53, 2.0**-24


def matrix_norm(weight: Floats, deadline: float = inf) -> float:
    """At least the largest singular value of a matrix (m, n).

    Parameters
    ----------
    deadline
        On the clock of :func:`time.monotonic`: past it the bound is a coarse one.
    """
    size = np.abs(weight)
    rows, columns = (float(size.sum(axis=axis).max(initial=0.0)) for axis in (1, 0))
    coarse = _up(min(sqrt(rows * columns), _frobenius(weight[None])), weight.size)
    if coarse == 0.0:
        return coarse
    # A product of a few rows takes a moment, and the bounds above are of little use.
    wide = weight if weight.shape[0] <= weight.shape[1] else weight.T
    parts = [wide[start : start + ROWS] for start in range(0, len(wide), ROWS)]
    squares = sum(_stacked_norm(iter([part[None]]), inf) ** 2 for part in parts)
    coarse = min(coarse, _up(sqrt(squares), len(parts)))
    if len(parts) == 1 or monotonic() >= deadline:
        return coarse
    return min(coarse, _stacked_norm(iter([weight[None]]), deadline))


def convolution_norm(kernel: Floats, sides: Sequence[int], deadline: float = inf) -> float:
    """At least the largest singular value of a convolution with zero padding and any stride.

    Parameters
    ----------
    kernel
        (groups, out, in, *taps): what one group makes of its channels.
    sides
        Cells of its input along every spatial axis, in steps of the dilation.
    deadline
        As for `matrix_norm`.
    """
    taps = kernel.shape[3:]
    # Patches of an image hold every cell at most once per tap.
    sides_of = (
        np.moveaxis(kernel, axis, 1).reshape(len(kernel), kernel.shape[axis], -1) for axis in (1, 2)
    )
    patches = min(sides_of, key=lambda side: side.shape[1])
    coarse = sqrt(prod(taps)) * max(matrix_norm(group, deadline) for group in patches)
    coarse = _up(coarse, 8)
    if monotonic() >= deadline or prod(taps) == 1 or coarse == 0.0:
        return coarse
    exact = [side + tap - 1 for side, tap in zip(sides, taps, strict=True)]
    rough = [1 if tap == 1 else COARSE * (tap - 1) for tap in taps]
    factor = 1.0
    if prod(exact) > FINER * prod(rough):
        exact = rough
        factor = prod(
            1.0 if tap == 1 else 1.0 / cos(pi * (tap - 1) / count)
            for tap, count in zip(taps, rough, strict=True)
        )
    # The symbol sums the taps: what rounding its terms makes is at most this.
    lost = (
        (prod(taps) + 32)
        * UNIT64
        * sqrt(prod(taps))
        * _frobenius(kernel.reshape(len(kernel), -1, 1))
    )
    found = max(_stacked_norm(_symbols(group, exact), deadline) for group in kernel)
    return min(coarse, _up(sqrt(factor) * (found + 2.0 * lost), 64))


def _symbols(kernel: Floats, counts: Sequence[int]) -> Iterator[NDArray[np.complex128]]:
    """Symbols (F, out, in) of a kernel (out, in, *taps) on a grid, one of each conjugate pair."""
    out, into, *taps = kernel.shape
    # Frequency 0 <= j < count per axis; half of the last axis, since weights are real.
    halved = [*counts[:-1], counts[-1] // 2 + 1]
    grid = np.stack(np.unravel_index(np.arange(prod(halved)), halved), axis=1)
    places = np.stack(np.unravel_index(np.arange(prod(taps)), taps), axis=1)
    flat = np.moveaxis(kernel.reshape(out * into, -1), 1, 0)
    step = max(1, HELD // (out * into))
    for start in range(0, len(grid), step):
        # Products of integers modulo the count are exact.
        turns = (grid[start : start + step, None, :] * places[None]) % np.array(counts)
        angles = 2.0 * np.pi * (turns / np.array(counts)).sum(axis=2)
        symbol = np.cos(angles) @ flat + 1j * (np.sin(angles) @ flat)
        yield symbol.reshape(-1, out, into)


def _stacked_norm(stacks: Iterator[NDArray[Any]], deadline: float) -> float:
    """At least the largest singular value of all matrices (F, m, n) of stacks; inf past it."""
    least, lost, moved, size = 0.0, 0.0, 0.0, 1
    for stack in stacks:
        if stack.shape[1] > stack.shape[2]:
            stack = np.conj(np.swapaxes(stack, 1, 2))
        count, size, n = stack.shape
        single, largest = count * size * size * n > SINGLE, _frobenius(stack)
        unit = UNIT32 if single else UNIT64
        if not largest < 1e15:  # squares in single precision have room
            return inf
        if single:
            stack = stack.astype(np.complex64 if np.iscomplexobj(stack) else np.float32)
            moved = max(moved, 1.01 * unit * largest)
        # A complex product counts as four real ones.
        roundings = 4 * (min(n, COLUMNS) + 8) + -(-n // COLUMNS)
        lost = max(lost, 1.01 * roundings * unit * (1.01 * largest) ** 2)
        least = max(least, FIRST * _largest(stack) + 1e-300)
        for one in stack:
            gram = _gram(one, deadline)
            while gram is not None and not _dominates(least, gram):
                least *= MORE
            if gram is None or monotonic() >= deadline:
                return inf
    roundings = 16.0 * (size + 16) * UNIT64 * size
    return _up(sqrt(least * (1.0 + roundings) + lost) + moved, 64)


def _gram(matrix: NDArray[Any], deadline: float) -> NDArray[Any] | None:
    """The lower triangle of the conjugate of W W* for a matrix (m, n); None where time was over."""
    from scipy.linalg.blas import cherk, dsyrk, ssyrk, zherk

    products: dict[str, tuple[Any, int]] = {
        "f": (ssyrk, 1), "d": (dsyrk, 1), "F": (cherk, 2), "D": (zherk, 2),
    }  # fmt: skip
    product, trans = products[matrix.dtype.char]
    total: NDArray[Any] = np.zeros((len(matrix), len(matrix)), matrix.dtype, order="F")
    for start in range(0, matrix.shape[1], COLUMNS):
        if monotonic() >= deadline:
            return None
        part = np.ascontiguousarray(matrix[:, start : start + COLUMNS]).T
        total = product(1.0, part, beta=1.0, c=total, trans=trans, lower=1, overwrite_c=1)
    return total


def _largest(stack: NDArray[Any]) -> float:
    """About the largest eigenvalue of W W* of all matrices (F, m, n), by power iteration."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((*stack.shape[:2], 1)).astype(stack.real.dtype)
    vectors = vectors.astype(stack.dtype)
    # A few steps tell which matrices may have it.
    norms, vectors = _powers(stack, vectors, ALL_STEPS)
    best = np.argsort(-norms)[:BEST]
    norms, _ = _powers(stack[best], vectors[best], BEST_STEPS)
    return float(norms.max(initial=0.0))


def _powers(stack: NDArray[Any], vectors: NDArray[Any], steps: int) -> tuple[Floats, NDArray[Any]]:
    """Lengths (F,) of W W* v for unit vectors v (F, m, 1) after so many steps, and the vectors."""
    back = np.conj(np.swapaxes(stack, 1, 2))
    norms = np.zeros((len(stack), 1, 1))
    for _ in range(steps):
        vectors = stack @ (back @ vectors)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors / np.maximum(norms, 1e-30)
    return norms.reshape(-1), vectors


def _dominates(bound: float, gram: NDArray[Any]) -> bool:
    """True where Cholesky's factorisation of bound I - G runs to its end; G's lower triangle."""
    from scipy.linalg.lapack import dpotrf, zpotrf

    factorise, wide = (zpotrf, np.complex128) if np.iscomplexobj(gram) else (dpotrf, np.float64)
    left = np.negative(gram).astype(wide, order="F")
    np.fill_diagonal(left, bound + left.diagonal())
    return bool(factorise(left, lower=1, clean=0, overwrite_a=1)[1] == 0)


def _frobenius(stack: NDArray[Any]) -> float:
    """The largest Frobenius norm of the matrices (F, m, n)."""
    flat = stack.reshape(len(stack), -1)
    squares = np.einsum("fi,fi->f", flat.real, flat.real) + np.einsum(
        "fi,fi->f", flat.imag, flat.imag
    )
    return _up(sqrt(float(squares.max(initial=0.0))), flat.shape[1])


def _up(value: float, terms: int) -> float:
    """A sum or product of so many positive terms, rounded up."""
    return value * (1.0 + 4.0 * (terms + 8) * UNIT64)
