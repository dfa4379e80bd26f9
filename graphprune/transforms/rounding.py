"""The largest error of a float32 graph run, proven a priori.

Model (Higham, Accuracy and Stability of Numerical Algorithms, sections 2.2 and 3.1): an operation
on operands a, b gives

    (a' o b') (1 + d) + e,    |d| <= u = 2^-24,    |a' - a|, |b' - b|, |e| <= SMALLEST,

where a' and b' differ from a and b, and e from 0, only near 0: results below the smallest normal
number are rounded to multiples of 2^-149, or replaced by 0 on a device that flushes, which may
read operands below it as 0 as well. Rounding a weight from float64 is one such operation.

The factors 1 + d: in any order of summation, a sum of n products is off by at most
(1 + u)^n - 1 times the sum of their absolute values. Fused multiply-adds round less.

The terms e do not scale with what is computed: :mod:`graphprune.transforms.underflow`.
"""

import math

UNIT = 2.0**-24
SMALLEST = 2.0**-126
# `gamma` is at least this, whatever it is asked for.
GAMMA = 8.0 * UNIT
# An error of SMALLEST per unit, in what twice some `gamma` is multiplied with.
FLOOR = SMALLEST / (2.0 * GAMMA)
# Exponents beyond this would leave float32: some 600 million roundings.
MOST = 40.0


def gamma(roundings: int) -> float:
    """Bound on the relative error after `roundings` float32 operations.

    The error is at most (1 + u)^n - 1 <= e^t - 1 of the exact sum of absolute values. That sum is
    itself computed in float32, in as many operations, and may come out smaller by (1 - u)^n: e^t
    pays for this, and 1.01 for the operations that follow. Both hold for any number of roundings.
    """
    total = roundings * UNIT / (1.0 - UNIT) + GAMMA
    if total > MOST:
        raise OverflowError(f"{roundings} roundings are too many for a float32 bound")
    return 1.01 * math.expm1(total) * math.exp(total)


def gamma64(roundings: int) -> float:
    """`gamma` for sums of `roundings` float64 operations, twice for what it stands beside.

    The second factor covers composing the weights, evaluating the bound on the error itself and
    the last additions.
    """
    total = roundings * 2.0**-53
    if total >= 0.01:
        raise OverflowError(f"{roundings} roundings are too many for a float64 bound")
    return 2.0 * total / (1.0 - total)
