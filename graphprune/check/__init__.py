"""The independent checker of distance certificates.

In: the bytes of a certificate, and the model file it is about. Out: per anchor the interval that
is verified, or a refusal with its reason. ``docs/certificate.md`` is the specification.

Imports nothing of graphprune but the error classes: not the solvers, bounds, canonical form or
intermediate representation whose results it judges.

Read first: ``bound.py`` (the one inequality), ``verify.py`` (what is checked, in order),
``container.py`` (the file).
"""

from graphprune.check.container import (
    CertificateError,
    Prefix,
    Proof,
    ProofFile,
    Refused,
    read,
    write,
)
from graphprune.check.model import parse_model, read_model
from graphprune.check.verify import Verified, verify

__all__ = [
    "CertificateError",
    "Prefix",
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
