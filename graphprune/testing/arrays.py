"""Arrays that shrink to small integers: weights, points and rows of what a property is about.

Every number is a fraction that float32 holds exactly. Arrays of up to `FEW` numbers are drawn, and
shrink, number by number, so that a failing example shows those that matter; larger ones, which
nobody reads, come from a drawn seed.
"""

from functools import cache
from math import prod

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as extra
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEW = 48
# Fractions have this denominator at most.
FINEST = 32


@cache
def _between(low: float, high: float, center: float) -> Floats:
    """Fractions from `low` to `high`: small denominators first, then what is near `center`."""
    numerators = np.arange(int(np.ceil(low * FINEST)), int(np.floor(high * FINEST)) + 1)
    denominators = FINEST // np.gcd(numerators, FINEST)
    values = numerators / FINEST
    order = np.lexsort((values < center, np.abs(values - center), denominators))
    return values[order]


@st.composite
def _arrays(draw: st.DrawFn, values: Floats, shape: tuple[int, ...]) -> Floats:
    if prod(shape) > FEW:
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        large: Floats = rng.choice(values, shape)
        return large
    places = extra.arrays(
        np.intp, shape, elements=st.integers(0, len(values) - 1), fill=st.nothing()
    )
    small: Floats = values[draw(places)]
    return small


def weights(*shape: int, largest: float = 1.0) -> st.SearchStrategy[Floats]:
    """Arrays of numbers between -`largest` and `largest` that shrink to 0, 1 and -1."""
    return _arrays(_between(-largest, largest, 0.0), shape)


def factors(*shape: int) -> st.SearchStrategy[Floats]:
    """Arrays of positive numbers between 1/2 and 3/2 that shrink to 1."""
    return _arrays(_between(0.5, 1.5, 1.0), shape)


def points(*shape: int, low: float = 0.2, high: float = 0.8) -> st.SearchStrategy[Floats]:
    """Points of [low, high] that shrink to its middle, or to integers within it."""
    return _arrays(_between(low, high, (low + high) / 2), shape)


@st.composite
def layers(
    draw: st.DrawFn, widths: st.SearchStrategy[list[int]]
) -> tuple[list[Floats], list[Floats]]:
    """Weights (n_k+1, n_k) and biases (n_k+1,) of a fully connected network of drawn widths."""
    drawn = draw(widths)
    shapes = list(zip(drawn[1:], drawn[:-1], strict=True))
    return (
        [draw(weights(*shape, largest=2.0)) for shape in shapes],
        [draw(weights(rows)) for rows, _ in shapes],
    )
