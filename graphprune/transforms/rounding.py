"""What a float32 graph run can be wrong by, proven a priori.

Model (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1): each operation
rounds by a factor 1 + d, |d| <= u = 2^-24, in any order of summation, so a sum of n products is
off by at most gamma_n = n u / (1 - n u) times the sum of their absolute values. Fused
multiply-adds round less. Weights are rounded once from float64, one more factor each.
Underflow is covered by the absolute term `TINY`.
"""

UNIT = 2.0**-24
TINY = 1e-30


def gamma(roundings: int) -> float:
    """Bound on the relative error after `roundings` float32 operations.

    The factor 1.01 pays for evaluating the error bound itself in float32.
    """
    total = (roundings + 8) * UNIT
    if total >= 0.25:
        raise OverflowError(f"{roundings} roundings are too many for a float32 bound")
    return 1.01 * total / (1.0 - total)


def gamma64(roundings: int) -> float:
    """`gamma` for sums of `roundings` float64 operations, twice for what it stands beside.

    The second factor covers composing the weights, evaluating the bound on the error itself and
    the last additions.
    """
    total = roundings * 2.0**-53
    if total >= 0.01:
        raise OverflowError(f"{roundings} roundings are too many for a float64 bound")
    return 2.0 * total / (1.0 - total)
