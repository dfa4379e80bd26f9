"""The independent checker of distance certificates; ``docs/certificate.md`` is its specification.

Imports nothing of graphprune but the error classes: not the solvers, bounds, canonical form or
intermediate representation whose results it judges.
"""

from graphprune.check.container import CertificateError, Proof, ProofFile, Refused, read, write
from graphprune.check.model import parse_model, read_model
from graphprune.check.verify import Verified, verify

__all__ = [
    "CertificateError",
    "Proof",
    "ProofFile",
    "Refused",
    "Verified",
    "parse_model",
    "read",
    "read_model",
    "verify",
    "write",
]
