"""Certificates: proofs of distances that :mod:`graphprune.check` verifies on its own."""

from graphprune.backends.certificate.prove import BallQuery, UnprovenError, prove_ball

__all__ = ["BallQuery", "UnprovenError", "prove_ball"]
