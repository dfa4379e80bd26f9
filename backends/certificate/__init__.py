"""Certificates: proofs of distances that :mod:`graphprune.check` verifies on its own.

In: a model as the checker reads it, an anchor with a radius, and the trace of the search that
proved it. Out: the scopes and margins of a proof, every bound of which the checker's own inequality
has confirmed.

Read first: ``prove.py`` (the steps of a proof), ``systems.py`` (the checker's systems and the
search's kernels), ``forest.py`` (trees of cases).
"""

from graphprune.backends.certificate.forest import UnboundedError, UnprovenError
from graphprune.backends.certificate.prove import prove_ball
from graphprune.backends.certificate.question import BallQuery

__all__ = ["BallQuery", "UnboundedError", "UnprovenError", "prove_ball"]
