"""Certificates: proofs of distances that :mod:`graphprune.check` verifies on its own."""

from graphprune.backends.certificate.prove import Question, UnprovenError, prove_ball

__all__ = ["Question", "UnprovenError", "prove_ball"]
