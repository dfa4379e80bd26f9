"""VNN-LIB properties decided by attack, bounds, and branch and bound.

In: a network and a property (boxes of inputs, each with a union of unsafe polytopes of outputs).
Out: a verdict (sat, unsat, unknown, timeout), with a confirmed counterexample where it is sat.

Read first: ``verify.py`` (the order of the stages), ``inputs.py`` (splitting boxes),
``neurons.py`` (splitting neurons).
"""

from graphprune.backends.verify.head import answerable
from graphprune.backends.verify.model import network_for
from graphprune.backends.verify.points import by_points
from graphprune.backends.verify.query import Counterexample
from graphprune.backends.verify.verify import Verdict, record_of, verify

__all__ = [
    "Counterexample",
    "Verdict",
    "answerable",
    "by_points",
    "network_for",
    "record_of",
    "verify",
]
