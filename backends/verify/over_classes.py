"""Constraints on what runs over all scores (Softmax, LogSoftmax, ArgMax) as constraints on these.

``sum a_k p_k <= c`` of probabilities is ``sum (a_k - c) exp z_k <= 0`` of scores. With one
positive and one negative weight that is linear: log-odds. Otherwise every term with a positive
weight is at most the negative ones together, which is at most their number times the largest of
them: linear conditions for each term that may be the largest, which hold wherever the constraint
does. Where several weights are positive, so do tangents of the logarithm of their sum.
"""

from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from math import exp, log
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graphprune.vnnlib import Constraint

Floats = NDArray[np.float64]
Polytope = tuple[Constraint, ...]

# Relative error of a logarithm or exponential, far above what they are off by.
ERROR = 1e-11
# Constraints that a polytope may become; the question is refused beyond.
MOST_CONSTRAINTS = 20_000
# Tangents of a constraint, where the samples come closest to satisfying it.
TANGENTS = 4


class OverClasses(Protocol):
    """An operator over the scores of a sample."""

    def outputs(self, classes: int) -> int:
        """The number of its outputs."""
        ...

    def value(self, scores: Floats) -> Floats:
        """Outputs (outputs,) in float64 at scores (classes,)."""
        ...

    def below(
        self, polytope: Polytope, classes: int, samples: Floats
    ) -> tuple[Polytope, ...] | None:
        """Polytopes of scores that hold all points where a polytope of outputs holds.

        Parameters
        ----------
        samples
            Scores (M, classes) near which the result should be tight.

        Returns
        -------
        tuple[Polytope, ...] | None
            None where there are none that are linear.
        """
        ...


class Softmax:
    """exp z_k / sum exp z."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        del attributes  # the axis is the one of the classes: others are refused at loading

    def outputs(self, classes: int) -> int:
        return classes

    def value(self, scores: Floats) -> Floats:
        powers = np.exp(scores - scores.max())
        result: Floats = powers / powers.sum()
        return result

    def below(
        self, polytope: Polytope, classes: int, samples: Floats
    ) -> tuple[Polytope, ...] | None:
        found = []
        for c in polytope:
            alternatives = self._alternatives(c, classes, samples)
            if alternatives is None:
                return None
            found.append(alternatives)
        count = int(np.prod([max(len(a), 1) for a in found], dtype=object))
        longest = sum(max(map(len, a), default=0) for a in found)
        if count * max(longest, 1) > MOST_CONSTRAINTS:
            return None
        return tuple(tuple(c for part in case for c in part) for case in product(*found))

    def _alternatives(
        self, constraint: Constraint, classes: int, samples: Floats
    ) -> list[Polytope] | None:
        """A constraint as a union of polytopes."""
        if constraint.compares or not constraint.terms:
            return [(constraint,)]
        if constraint.inputs:
            return None
        return _of_probabilities(dict(constraint.terms), constraint.limit, classes, samples)


class LogSoftmax(Softmax):
    """The logarithm of a Softmax."""

    def value(self, scores: Floats) -> Floats:
        shifted = scores - scores.max()
        result: Floats = shifted - np.log(np.exp(shifted).sum())
        return result

    def _alternatives(
        self, constraint: Constraint, classes: int, samples: Floats
    ) -> list[Polytope] | None:
        if sum(c for _, c in constraint.terms) == 0:  # none, too
            return [(constraint,)]  # differences of outputs are differences of scores
        if constraint.inputs or len(constraint.terms) != 1:
            return None
        ((k, coefficient),) = constraint.terms
        end = constraint.limit / coefficient
        if coefficient > 0 and end >= 0:
            return [()]
        sign = 1 if coefficient > 0 else -1
        odds = exp(end) if -700 < end < 1 else 1.0 if end > 0 else 0.0
        limit = Fraction(odds) * (1 + sign * Fraction(ERROR)) + sign * Fraction(1e-300)
        if end > 0 and sign < 0:
            return []  # at least a number above 0, which no logarithm of a probability is
        return _of_probabilities({k: Fraction(sign)}, sign * limit, classes, samples)


class ArgMax:
    """The class of the largest score."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self.last = bool(attributes.get("select_last_index", 0))

    def outputs(self, classes: int) -> int:
        del classes
        return 1

    def value(self, scores: Floats) -> Floats:
        label = len(scores) - 1 - np.argmax(scores[::-1]) if self.last else np.argmax(scores)
        return np.array([float(label)])

    def below(
        self, polytope: Polytope, classes: int, samples: Floats
    ) -> tuple[Polytope, ...] | None:
        del samples
        if any(c.inputs for c in polytope):
            return None
        labels = [k for k in range(classes) if all(c.holds(np.array([k])) for c in polytope)]
        return tuple(
            tuple(_difference(other, k, Fraction(0)) for other in range(classes) if other != k)
            for k in labels
        )


OVER_CLASSES: dict[str, type[Softmax] | type[ArgMax]] = {
    kind.__name__: kind for kind in (Softmax, LogSoftmax, ArgMax)
}


def _of_probabilities(
    terms: Mapping[int, Fraction], limit: Fraction, classes: int, samples: Floats
) -> list[Polytope] | None:
    """``sum terms_k p_k <= limit`` of probabilities; see the module."""
    weights = [terms.get(k, Fraction(0)) - limit for k in range(classes)]
    positive = [k for k, w in enumerate(weights) if w > 0]
    negative = [k for k, w in enumerate(weights) if w < 0]
    if not positive:
        return [()]
    if not negative:
        return []
    if len(positive) * len(negative) > MOST_CONSTRAINTS:
        return None
    found = []
    for n in negative:
        room = -weights[n] * len(negative)
        polytope = [_difference(p, n, _upper(_log(room) - _log(weights[p]))) for p in positive]
        if len(positive) > 1 and len(samples):
            polytope += _tangents(weights, positive, n, room, samples)
        found.append(tuple(polytope))
    return found


def _tangents(
    weights: list[Fraction], positive: list[int], n: int, room: Fraction, samples: Floats
) -> list[Constraint]:
    """Tangents of log(sum over positive w_p exp z_p) - z_n <= log(room).

    For shares s_p of 1 the left side is at least sum s_p (z_p + log w_p - log s_p) - z_n, since
    the logarithm is concave; it is equal where the shares are those of the terms.
    """
    logs = np.array([_log(weights[p]) for p in positive])
    parts = samples[:, positive] + logs
    highest = parts.max(axis=1, keepdims=True)
    powers = np.exp(parts - highest)
    excess = highest[:, 0] + np.log(powers.sum(axis=1)) - samples[:, n]
    made = []
    for sample in np.argsort(excess)[:TANGENTS]:
        shares = [Fraction(float(s)) for s in powers[sample] / powers[sample].sum()]
        # Exactly 1 together: the largest takes what is missing.
        largest = int(np.argmax(powers[sample]))
        shares[largest] += 1 - sum(shares)
        if min(shares) < 0:
            continue
        used = [(p, s, w) for p, s, w in zip(positive, shares, logs, strict=True) if s]
        end = _log(room) - sum(float(s) * (w - _log(s)) for _, s, w in used)
        size = 1 + sum(float(s) * (abs(w) + abs(_log(s))) for _, s, w in used)
        terms = sorted([(p, s) for p, s, _ in used] + [(n, Fraction(-1))])
        made.append(Constraint(tuple(terms), _upper(end, size)))
    return made


def _difference(a: int, b: int, limit: Fraction) -> Constraint:
    """z_a - z_b <= limit."""
    return Constraint(tuple(sorted([(a, Fraction(1)), (b, Fraction(-1))])), limit)


def _log(value: Fraction) -> float:
    return log(value.numerator) - log(value.denominator)


def _upper(value: float, size: float = 0.0) -> Fraction:
    """A number above what `value` stands for, its terms being up to `size` large."""
    return Fraction(value) + Fraction(ERROR) * (1 + Fraction(abs(value)) + Fraction(size))
