"""Deciding VNN-LIB properties: attack, bounds, and branch and bound."""

from graphprune.backends.verify.problem import Counterexample
from graphprune.backends.verify.verify import Verdict, verify

__all__ = ["Counterexample", "Verdict", "verify"]
